// How many messages a second go through a queue in memory, acked, from this thread to a worker?
import { MessageChannel, Worker } from "node:worker_threads";
import { Piscina } from "piscina";
import { Arrivals, body, number, objectOf } from "./harness/bodies.mjs";
import { awaited, batches, flow } from "./harness/flow.mjs";
import { atLeast } from "./harness/report.mjs";
import { inTurns } from "./harness/statistics.mjs";
import { withQueue } from "./harness/store.mjs";
import { inWorkers } from "./harness/takers.mjs";

export const title = "Memory queue: sent, delivered to a worker and acked";

const BATCH = 256;
const bytes = { bytes: 64 };
const objects = { objects: true };

export async function run({ quick, repetitions }) {
  const count = ((quick ? 100_000 : 500_000) * 2) & -BATCH;
  const options = { quick, repetitions };
  return [
    ...(await compare({
      ...options,
      codec: "bytes",
      shape: bytes,
      count,
      sends: [
        { name: "64 B, sendBatch of 256", send: batches(BATCH, 8), goal: atLeast(3_000_000) },
        { name: "64 B, trySend", send: tries },
        { name: "64 B, 1,024 awaited sends", send: awaited(1024) },
      ],
      baseline: postMessages,
    })),
    ...(await compare({
      ...options,
      codec: "json",
      shape: objects,
      count: (count / 2) & -BATCH,
      sends: [
        {
          name: "small objects as JSON, sendBatch of 256",
          send: batches(BATCH, 8),
          goal: atLeast(1_000_000),
        },
        {
          name: "small objects as JSON, 1,024 awaited sends",
          send: awaited(1024),
          goal: atLeast(10, "ratio"),
        },
      ],
      baseline: piscinaRuns,
    })),
  ];
}

/** The ways to send and the baseline, in turns. */
async function compare({ codec, shape, count, sends, baseline, repetitions }) {
  const rows = [];
  const other = await baseline({ shape, count: Math.round(count / 8) });
  for (const { name, send, goal } of sends) {
    await withQueue({ codec }, async (queue) => {
      const { measure, stop } = await flow(queue, { send, take: inWorkers(), count, shape });
      const [ours, theirs] = await inTurns(repetitions, [measure, other.measure]);
      await stop();
      rows.push({
        name,
        unit: "/s",
        ...ours,
        baseline: { name: other.name, value: theirs.value },
        ratio: ours.value / theirs.value,
        ...(goal && { goal }),
      });
      return 0;
    });
  }
  await other.stop();
  return rows;
}

/** trySend without waiting for anything, with a turn of the event loop now and then. */
async function tries(queue, count, shape) {
  const one = body(shape.bytes);
  for (let i = 0; i < count; i++) {
    number(one, i);
    if (!queue.trySend(one)) throw new Error("the queue is full");
    if (i % 1024 === 1023) await new Promise(setImmediate);
  }
}

/** One postMessage a message, one answer at the end. */
async function postMessages({ shape, count }) {
  const arrivals = Arrivals.create(count, shape.bytes);
  const worker = new Worker(new URL("./agents/port.mjs", import.meta.url));
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ port: port2, shared: arrivals.shared, count }, [port2]);
  return {
    name: "postMessage",
    measure: async () => {
      const one = body(shape.bytes);
      const done = new Promise((resolve) => port1.once("message", resolve));
      const from = performance.now();
      for (let i = 0; i < count; i++) {
        number(one, i);
        port1.postMessage(one);
      }
      await done;
      const value = (count / (performance.now() - from)) * 1000;
      arrivals.verify(count);
      return { value };
    },
    stop: () => worker.terminate(),
  };
}

/** One pool.run() a message, 1,024 in flight. */
async function piscinaRuns({ count }) {
  const arrivals = Arrivals.create(count, 8);
  const pool = new Piscina({
    filename: new URL("./agents/task.mjs", import.meta.url).href,
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker: 1024,
    workerData: arrivals.shared,
  });
  return {
    name: "piscina.run",
    measure: async () => {
      let sent = 0;
      const from = performance.now();
      const lane = async () => {
        while (sent < count) await pool.run(objectOf(sent++));
      };
      await Promise.all(Array.from({ length: 1024 }, lane));
      const value = (count / (performance.now() - from)) * 1000;
      arrivals.verify(count);
      return { value };
    },
    stop: () => pool.destroy(),
  };
}
