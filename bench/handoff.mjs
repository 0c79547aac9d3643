// How long is one message on its way to a handler in another thread when little else happens, and back?
import { Worker } from "node:worker_threads";
import { Piscina } from "piscina";
import { body, number } from "./harness/bodies.mjs";
import { RawDisk } from "./harness/raw-disk.mjs";
import { atMost } from "./harness/report.mjs";
import { percentiles } from "./harness/statistics.mjs";
import { settled, withQueue } from "./harness/store.mjs";

export const title = "Hand-off: one message at a time to a worker thread";

const BODY_BYTES = 256;
/** About 500 a second: both threads have gone to sleep before the next message. */
const PAUSE_MS = 2;
const HANDLER_GOAL_US = 60;

export async function run({ quick, repetitions, dir, nativeBench }) {
  const rounds = Math.max(repetitions, 5);
  const slow = { rounds, count: quick ? 100 : 400 };
  const fast = { rounds, count: quick ? 500 : 4000 };
  const raw = await RawDisk.start(nativeBench, dir);
  try {
    return [
      await toHandler({ ...slow, raw, dir }),
      await toHandler({ ...slow }),
      ...(await roundTrips(fast)),
    ];
  } finally {
    raw.stop();
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

/** From send() to the handler's first line. With `raw` at level `sync`, beside a bare commit at the same pace. */
async function toHandler({ rounds, count, raw, dir }) {
  const taken = [];
  const bare = [];
  await withQueue({ dir }, async (queue) => {
    const shared = new SharedArrayBuffer(8 * count);
    const latencies = new Float64Array(shared);
    const pool = queue.consumeInWorkers(new URL("./agents/clock.mjs", import.meta.url), {
      threads: 1,
      data: shared,
    });
    await pool.ready;
    for (let round = -1; round < rounds; round++) {
      latencies.fill(0);
      const message = body(BODY_BYTES);
      for (let i = 0; i < count; i++) {
        await pause();
        message.writeUInt32LE(i, 8);
        message.writeBigUInt64LE(process.hrtime.bigint(), 0);
        await queue.send(message);
      }
      await settled(queue);
      if (latencies.includes(0)) throw new Error("a message did not arrive");
      if (round < 0) continue;
      taken.push(...latencies);
      if (raw !== undefined) bare.push(...(await raw.commit({ count, pauseUs: PAUSE_MS * 1000 })));
    }
    await pool.close();
    return 0;
  });
  const { p50, p99 } = percentiles(taken);
  const row = {
    name: `send to handler, ${raw ? "sync" : "memory"}, every ${PAUSE_MS} ms`,
    value: p50,
    unit: "us",
    p50,
    p99,
  };
  if (raw === undefined) return row;
  const device = percentiles(bare).p50;
  return {
    ...row,
    baseline: { name: "bare commit at that pace", value: device },
    ratio: p50 / device,
    goal: atMost(device + HANDLER_GOAL_US, "p50"),
  };
}

/** There and back, one after the other without a pause: two memory queues, postMessage, pool.run. In turns. */
async function roundTrips({ rounds, count }) {
  const message = body(64);
  const rows = [];
  const mirror = new URL("./agents/mirror.mjs", import.meta.url);
  const worker = new Worker(mirror);
  const pool = new Piscina({ filename: mirror.href, minThreads: 1, maxThreads: 1 });
  await withQueue({}, async (queue, broker) => {
    const answers = await broker.queue("answers", { codec: "bytes" });
    const agents = queue.consumeInWorkers(new URL("./agents/echo.mjs", import.meta.url), { threads: 1 });
    await agents.ready;
    let arrived;
    const consumer = answers.consume((answer) => arrived(answer.body));
    const ways = [
      {
        name: "round trip by two memory queues",
        ask: (question) =>
          new Promise((resolve) => {
            arrived = resolve;
            queue.trySend(question);
          }),
      },
      {
        name: "postMessage",
        ask: (question) =>
          new Promise((resolve) => {
            worker.once("message", (answer) => resolve(Buffer.from(answer.echo)));
            worker.postMessage({ echo: question });
          }),
      },
      { name: "piscina.run", ask: async (question) => Buffer.from(await pool.run(question)) },
    ];
    const taken = ways.map(() => []);
    for (let round = -1; round < rounds; round++) {
      for (const [way, { ask }] of ways.entries()) {
        for (let i = 0; i < count; i++) {
          number(message, i);
          const from = performance.now();
          const answer = await ask(message);
          const us = (performance.now() - from) * 1000;
          if (answer.compare(message) !== 0)
            throw new Error(`${ways[way].name}: another answer than was asked`);
          if (round >= 0) taken[way].push(us);
        }
      }
    }
    const [ours, ...others] = taken.map(percentiles);
    for (const [i, other] of others.entries()) {
      rows.push({
        name: ways[0].name,
        value: ours.p50,
        unit: "us",
        ...ours,
        baseline: { name: `${ways[i + 1].name} (p99 ${other.p99.toFixed(0)})`, value: other.p50 },
        ratio: ours.p50 / other.p50,
      });
    }
    await consumer.close();
    await agents.close();
    return 0;
  });
  await worker.terminate();
  await pool.destroy();
  return rows;
}
