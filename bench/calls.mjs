// What does one call cost in the thread that makes it? (tinybench)
import { Worker } from "node:worker_threads";
import { Bench } from "tinybench";
import { body, objectOf } from "./harness/bodies.mjs";
import { withQueue } from "./harness/store.mjs";

export const title = "Calls: what one costs in the calling thread";

const BASELINE = "worker.postMessage, 64 B";

export async function run({ quick }) {
  const small = body(64);
  const medium = body(256);
  const object = objectOf(1);
  const json = JSON.stringify(object);
  const worker = new Worker(new URL("./agents/mirror.mjs", import.meta.url));
  const bench = new Bench({ time: quick ? 200 : 1000, warmupTime: quick ? 50 : 250 });

  await withQueue({ codec: "bytes" }, async (queue, broker) => {
    const objects = await broker.queue("objects", { capacity: 1e9 });
    const many = Array.from({ length: 256 }, () => small);
    const emptied = { afterAll: () => Promise.all([queue.purge(), objects.purge()]) };
    bench
      .add(BASELINE, () => worker.postMessage(small))
      .add("trySend, 64 B", () => queue.trySend(small), emptied)
      .add("trySend, 256 B", () => queue.trySend(medium), emptied)
      .add("trySend, small object as JSON", () => objects.trySend(object), emptied)
      .add("await send, 64 B", () => queue.send(small), emptied)
      .add("await sendBatch of 256, 64 B (a batch)", () => queue.sendBatch(many), emptied)
      .add("JSON.stringify of the object", () => JSON.stringify(object))
      .add("JSON.parse of the object", () => JSON.parse(json))
      .add("queue.stats()", () => queue.stats());
    await bench.run();
    return 0;
  });
  await worker.terminate();
  return rowsOf(bench);
}

function rowsOf(bench) {
  const failed = bench.tasks.find((task) => task.result.error !== undefined);
  if (failed !== undefined) throw failed.result.error;
  const latency = (name) => bench.getTask(name).result.latency;
  return bench.tasks.map(({ name }) => {
    const { p50, p99 } = latency(name);
    const baseline = latency(BASELINE).p50 * 1e6;
    return {
      name,
      value: p50 * 1e6,
      unit: "ns",
      p99: p99 * 1e3,
      ...(name !== BASELINE && {
        baseline: { name: BASELINE, value: baseline },
        ratio: (p50 * 1e6) / baseline,
      }),
    };
  });
}
