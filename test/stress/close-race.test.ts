/** A broker that closes while other threads are at work: what was promised is kept, and nothing else was promised. */
import { Worker } from "node:worker_threads";
import { Broker } from "millrace";
import { describe, expect, test } from "vitest";
import { durableLevels, temporaryDirectory } from "../support/broker.js";
import { Random, seedOfRun } from "../support/random.mjs";
import { until, within } from "../support/waiting.mjs";

const ACKED = 1;
const SENT = 2;
const rounds = 15;
const threads = 3;

describe.each(durableLevels)("a $level broker that closes under the hands of others", ({ broker: level }) => {
  test("keeps every send and ack that resolved", { timeout: 120_000 }, async () => {
    const seed = seedOfRun();
    const random = new Random(seed);
    const dir = temporaryDirectory();
    // By number of the message: what its promises said.
    const promised = new Uint8Array(new SharedArrayBuffer(2_000_000));
    const first = new Int32Array(new SharedArrayBuffer(4));
    for (let round = 0; round < rounds; round++) {
      const broker = await Broker.open({ dir, ...level });
      const queue = await broker.queue<number>("tasks", { maxDeliveries: 0 });
      const failures: Error[] = [];
      const workers = Array.from({ length: threads }, () => {
        const worker = new Worker(new URL("./fixtures/until-closed.mjs", import.meta.url), {
          workerData: { handle: broker.handle, promised, first },
        });
        return worker.on("error", (error: Error) => failures.push(error));
      });
      const ended = Promise.all(
        workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve))),
      );
      await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
      await until(() => queue.stats().acked > 20 || failures.length > 0, "they work");
      await new Promise((resolve) => setTimeout(resolve, random.integer(0, 30)));
      await within(broker.close(), "close");
      await within(ended, "the threads end by themselves");
      expect(failures, `seed ${seed}, round ${round}`).toEqual([]);

      const again = await Broker.open({ dir });
      const waiting = new Set(
        (await again.queue<number>("tasks", { maxDeliveries: 0 })).peek(10_000).map(({ body }) => body),
      );
      const stats = (await again.queue<number>("tasks")).stats();
      expect(waiting.size).toBe(stats.ready);
      const back: number[] = [];
      const lost: number[] = [];
      for (let n = 0; n < Atomics.load(first, 0); n++) {
        const said = Atomics.load(promised, n);
        if (said & ACKED && waiting.has(n)) back.push(n);
        // One that was sent and is not here must have been acked, or its ack was under way.
        if (said === SENT && !waiting.has(n)) lost.push(n);
      }
      expect({ back, lost }, `seed ${seed}, round ${round}`).toEqual({ back: [], lost: [] });
      await again.close();
    }
  });
});
