// Brokers in directories of their own, and the look at the disk that ends every durable run.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Broker } from "millrace";

/** More than any run here holds. */
const CAPACITY = 100_000_000;

/**
 * Calls `use` with a broker (in memory when `dir` is undefined) and one queue. Afterwards a durable one is closed,
 * opened again and counted: `use` returns how many messages must be left.
 */
export async function withQueue({ dir, durability = "sync", codec = "bytes" }, use) {
  const store = dir === undefined ? undefined : mkdtempSync(join(dir, "store-"));
  const options = store === undefined ? undefined : { dir: store, durability };
  try {
    const broker = await Broker.open(options);
    const queue = await broker.queue("bench", { codec, capacity: CAPACITY });
    const left = await use(queue, broker);
    await broker.close();
    if (store !== undefined) await count(options, left);
  } finally {
    if (store !== undefined) rmSync(store, { recursive: true, force: true });
  }
}

async function count(options, left) {
  const broker = await Broker.open(options);
  const { ready, delayed, inFlight } = (await broker.queue("bench")).stats();
  await broker.close();
  if (ready + delayed + inFlight !== left) {
    throw new Error(
      `after opening again ${ready + delayed + inFlight} messages are there instead of ${left}`,
    );
  }
}

/** Resolves when the queue is empty: everything settled, and that as durable as the queue. */
export async function settled(queue) {
  for (;;) {
    const { ready, delayed, inFlight, settling } = queue.stats();
    if (ready + delayed + inFlight + settling === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
