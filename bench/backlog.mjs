// What does a long queue cost: each message, the memory, and opening it again?
// The same stream of messages runs through the queue while it is empty and while it is long; in the end, after the store
// was opened again, everything that still waits is taken, and every message must have arrived exactly once.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Broker } from "millrace";
import { Arrivals, body, number } from "./harness/bodies.mjs";
import { atMost } from "./harness/report.mjs";
import { inTurns } from "./harness/statistics.mjs";
import { settled } from "./harness/store.mjs";

export const title = "Backlog: messages of 256 B that wait, at level sync";

const BATCH = 256;
const IN_FLIGHT = 8;
const BODY_BYTES = 256;
const agent = new URL("./agents/count.mjs", import.meta.url);

export async function run({ quick, full, repetitions, dir }) {
  const store = mkdtempSync(join(dir, "store-"));
  const backlog = (full ? 10_000_000 : quick ? 300_000 : 1_000_000) & -BATCH;
  const count = (quick ? 100_000 : 400_000) & -BATCH;
  try {
    return await measure({ store, backlog, count, repetitions });
  } finally {
    rmSync(store, { recursive: true, force: true });
  }
}

async function measure({ store, backlog, count, repetitions }) {
  const arrivals = Arrivals.create(backlog + 2 * (repetitions + 1) * count, BODY_BYTES);
  const stream = new Stream(arrivals);

  await stream.open(store);
  const [empty] = await inTurns(repetitions, [() => stream.through(count)]);

  const memoryBefore = ownMemory();
  const filling = performance.now();
  await stream.send(backlog);
  const filled = performance.now() - filling;
  const memory = (ownMemory() - memoryBefore) / backlog;

  const [long] = await inTurns(repetitions, [() => stream.through(count)]);
  const left = await stream.close();

  const opening = performance.now();
  const ready = await stream.open(store);
  const opened = performance.now() - opening;
  if (ready !== left) throw new Error(`after opening again ${ready} messages are there instead of ${left}`);
  await stream.drain();
  await stream.close();
  arrivals.verify(stream.sent);

  const waiting = `${Math.round(backlog / 1000).toLocaleString("en-US")} thousand waiting`;
  const nsEach = ({ value, spread: [least, most] }) => ({
    value: 1e9 / value,
    spread: [1e9 / most, 1e9 / least],
  });
  const alone = nsEach(empty);
  const beside = nsEach(long);
  return [
    { name: "sent, delivered and acked, empty queue", unit: "ns each", ...alone },
    {
      name: `the same with ${waiting}`,
      unit: "ns each",
      ...beside,
      baseline: { name: "empty queue", value: alone.value },
      ratio: beside.value / alone.value,
      goal: atMost(1.25, "ratio"),
    },
    { name: "sent only, the queue growing", value: (filled * 1e6) / backlog, unit: "ns each" },
    { name: `memory with ${waiting}`, value: memory, unit: "bytes each", goal: atMost(24) },
    { name: `open again with ${waiting}`, value: opened / 1000, unit: "s", goal: atMost(2) },
  ];
}

/** One queue, a sender here and a consumer in a worker that is held back by pause(). */
class Stream {
  sent = 0;
  #arrivals;
  #broker;
  #queue;
  #pool;

  constructor(arrivals) {
    this.#arrivals = arrivals;
  }

  /** Resolves to the number of messages that wait. */
  async open(dir) {
    this.#broker = await Broker.open({ dir });
    this.#queue = await this.#broker.queue("bench", { codec: "bytes", capacity: 100_000_000 });
    const { ready, delayed, inFlight } = this.#queue.stats();
    this.#queue.pause();
    this.#pool = this.#queue.consumeInWorkers(agent, {
      threads: 1,
      prefetch: 1024,
      data: { shared: this.#arrivals.shared },
    });
    await this.#pool.ready;
    return ready + delayed + inFlight;
  }

  async send(count) {
    const bodies = Array.from({ length: BATCH }, () => body(BODY_BYTES));
    let left = count;
    const lane = async () => {
      while (left > 0) {
        left -= BATCH;
        for (const one of bodies) number(one, this.sent++);
        await this.#queue.sendBatch(bodies);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  }

  /** Sends `count` while as many are taken and acked: messages a second. */
  async through(count) {
    const until = this.#queue.stats().acked + count;
    const from = performance.now();
    this.#queue.resume();
    await this.send(count);
    while (this.#queue.stats().acked < until) await new Promise((resolve) => setTimeout(resolve, 1));
    const value = (count / (performance.now() - from)) * 1000;
    this.#queue.pause();
    // What the consumer holds is acked before the next measurement.
    while (this.#queue.stats().inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    return { value };
  }

  async drain() {
    this.#queue.resume();
    await settled(this.#queue);
  }

  /** Resolves to the number of messages that were left. */
  async close() {
    await this.#pool.close();
    const { ready } = this.#queue.stats();
    await this.#broker.close();
    return ready;
  }
}

/** Bytes of memory of this process that are its own: neither files nor the heap's garbage. */
function ownMemory() {
  globalThis.gc?.();
  const [, kib] = /RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
  return Number(kib) * 1024;
}
