import { mock } from "node:test";
import { Broker, Ring } from "millrace";
import { afterEach, describe, expect, test, vi } from "vitest";
import { levels, open, openBroker, temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";

const fixture = (name: string) => new URL(`./fixtures/${name}.mjs`, import.meta.url);
const { setTimeout: later } = globalThis;

/** Under a frozen clock no deadline of the test itself may use it. */
function soonEnough<T>(promise: Promise<T>, what: string): Promise<T> {
  return Promise.race([
    promise,
    new Promise<never>((_, reject) => later(() => reject(new Error(`no answer: ${what}`)), 10_000).unref()),
  ]);
}

describe("with a clock that stands still", () => {
  test.each([
    ["before the package is imported", "before"],
    ["after it was imported", "after"],
    ["while it waits for commits", "during"],
  ])("everything goes on: frozen %s", async (_, when) => {
    const ended = await runNode(fixture("frozen"), {
      args: [when, temporaryDirectory()],
      deadlineMs: 50_000,
    });
    expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null, stdout: "all of it\n" });
  });

  const frozenBy: [string, () => void, () => void][] = [
    [
      "vitest",
      // All that it knows, but nextTick: it refuses that one in a child process, which its own workers are.
      () =>
        vi.useFakeTimers({
          toFake: [
            "setTimeout",
            "clearTimeout",
            "setImmediate",
            "clearImmediate",
            "setInterval",
            "clearInterval",
            "Date",
            "performance",
            "queueMicrotask",
            "hrtime",
          ],
        }),
      () => vi.useRealTimers(),
    ],
    [
      "node:test",
      () => mock.timers.enable({ apis: ["setTimeout", "setInterval", "setImmediate", "Date"] }),
      () => mock.timers.reset(),
    ],
  ];
  afterEach(() => {
    vi.useRealTimers();
    mock.timers.reset();
  });

  describe.each(frozenBy)("of %s", (_, freeze, giveBack) => {
    test.each(levels)("sends, deliveries and close go on, now and after it ($level)", async (level) => {
      const broker = await openBroker(level);
      freeze();
      const queue = await soonEnough(broker.queue<number>("tasks", level.queue), "queue()");
      const stream = queue.receive();
      for (let i = 0; i < 300; i++) {
        await soonEnough(queue.send(i), "send()");
        const { value } = await soonEnough(stream.next(), "next()");
        expect(value?.body).toBe(i);
        await soonEnough(value?.ack() as Promise<void>, "ack()");
      }
      giveBack();
      await soonEnough(queue.send(1), "send() after it");
      freeze();
      await soonEnough(broker.close({ timeout: 100 }), "close()");
      giveBack();
    });

    test("a pop waits for the push", async () => {
      const ring = Ring.create({ slots: 8, slotBytes: 8 });
      freeze();
      const popped = ring.pop();
      later(() => ring.tryPush(new Uint8Array(3)), 30);
      expect(await soonEnough(popped, "pop()")).toHaveLength(3);
    });

    test("a pool starts, works and closes", async () => {
      const broker = await open();
      freeze();
      const queue = await soonEnough(broker.queue<{ n: number }>("in"), "queue()");
      const pool = queue.consumeInWorkers(fixture("agent"), { threads: 1 });
      await soonEnough(pool.ready, "ready");
      await soonEnough(pool.close({ timeout: 100 }), "close()");
      await soonEnough(broker.close(), "broker.close()");
    });
  });

  test("time of user code that jumps ends no lease and gives nothing back", async () => {
    const broker = await open();
    const queue = await broker.queue<number>("tasks", { visibilityTimeout: 60_000 });
    await queue.sendBatch([1, 2, 3, 4]);
    vi.useFakeTimers({ toFake: ["Date", "performance", "setTimeout", "hrtime"] });
    const stream = queue.receive({ prefetch: 4 });
    const taken = [await stream.next()];
    vi.advanceTimersByTime(3_600_000);
    while (taken.length < 4) taken.push(await stream.next());
    for (const { value } of taken) await value?.ack();
    expect(queue.stats()).toMatchObject({ acked: 4, redelivered: 0, returned: 0, leaseLost: 0 });
    expect(Broker).toBeDefined();
  });
});
