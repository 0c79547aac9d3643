/** STORE_LOCKED means that somebody has the directory open: what nobody has open opens. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { Broker, type BrokerHandle } from "millrace";
import { describe, expect, onTestFinished, test } from "vitest";
import { durableLevels, open, takeOne, temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";
import { Random, seedOfRun } from "../support/random.mjs";

const fixture = (name: string) => new URL(`./fixtures/${name}.mjs`, import.meta.url);

describe.each(durableLevels)("a $level directory", (level) => {
  function startOpener(dir: string): Worker {
    const worker = new Worker(fixture("opener"), { workerData: { dir, options: level.broker } });
    onTestFinished(() => void worker.terminate());
    return worker;
  }
  async function openedBy(worker: Worker): Promise<BrokerHandle> {
    for (;;) {
      const [said] = await once(worker, "message");
      if (said !== "opening") return said as BrokerHandle;
    }
  }

  test("opens at once after the thread that opened it was terminated", async () => {
    for (let round = 0; round < 3; round++) {
      const dir = temporaryDirectory();
      const worker = startOpener(dir);
      await openedBy(worker);
      await worker.terminate();
      const broker = await open({ dir });
      expect((await takeOne(await broker.queue<string>("q"))).body).toBe("from the worker");
    }
  });

  test("opens at once after the last attached broker was closed, which its close has waited for", async () => {
    for (let round = 0; round < 3; round++) {
      const dir = temporaryDirectory();
      const worker = startOpener(dir);
      const attached = Broker.attach(await openedBy(worker));
      await worker.terminate();
      const queue = await attached.queue("q");
      await queue.send("from here");
      await attached.close();
      // Another process has no part in this one's bookkeeping: to it the directory must be free already.
      const elsewhere = await runNode(fixture("open-once"), { args: [dir] });
      expect(elsewhere, elsewhere.stderr).toMatchObject({ code: 0, stdout: "opened\n" });
      await (await open({ dir })).close();
    }
  });

  test("opens after a close that nobody awaited", async () => {
    const dir = temporaryDirectory();
    for (let round = 0; round < 10; round++) {
      const broker = await Broker.open({ dir, ...level.broker });
      await (await broker.queue<number>("q")).send(round);
      const closing = broker.close();
      // Open until what its close waits for is done; the locked ones are told so, the others wait.
      const next = await Broker.open({ dir }).catch(async (error: { code: string }) => {
        expect(error.code).toBe("STORE_LOCKED");
        await closing;
        return Broker.open({ dir });
      });
      expect((await next.queue("q")).stats().ready).toBe(round + 1);
      await closing;
      await next.close();
    }
  });

  test("opens after its opener was terminated at any moment of opening and closing", async () => {
    const seed = seedOfRun();
    console.log(`seed ${seed}`);
    const random = new Random(seed);
    for (let round = 0; round < 8; round++) {
      const dir = temporaryDirectory();
      const worker = startOpener(dir);
      await once(worker, "message");
      const turns = random.integer(0, 400);
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      await worker.terminate();
      const broker = await open({ dir });
      expect(broker.closed, `seed ${seed}, round ${round}`).toBe(false);
      await broker.close();
    }
  });

  test("opens after its opener ended before it heard that it was open", async () => {
    for (let round = 0; round < 8; round++) {
      const dir = temporaryDirectory();
      const workerData = { dir, blockMs: 40 * round };
      await once(new Worker(fixture("opener-that-blocks"), { workerData }), "exit");
      const broker = await open({ dir, ...level.broker });
      await broker.close();
    }
    // Nobody is taken for leaving for ever: that would let an open of a locked directory wait (30 s).
    const dir = temporaryDirectory();
    await open({ dir, ...level.broker });
    const from = performance.now();
    await expect(Broker.open({ dir })).rejects.toMatchObject({ code: "STORE_LOCKED" });
    expect(performance.now() - from).toBeLessThan(25_000);
  });

  test("stays locked while somebody has it open, whoever else comes and goes", async () => {
    const dir = temporaryDirectory();
    const held = await open({ dir, ...level.broker });
    const others = Array.from({ length: 20 }, async () => {
      const other = await Broker.open({ dir: temporaryDirectory(), ...level.broker });
      await other.close();
    });
    for (let i = 0; i < 20; i++) {
      await expect(Broker.open({ dir })).rejects.toMatchObject({ code: "STORE_LOCKED" });
    }
    await Promise.all(others);
    expect(held.closed).toBe(false);
  });
});
