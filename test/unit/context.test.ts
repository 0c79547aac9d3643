/** The async context of callbacks: that of whoever registered them, whoever's call brings the message. */
import { AsyncLocalStorage } from "node:async_hooks";
import { describe, expect, test } from "vitest";
import { levels, openQueue } from "../support/broker.js";
import { until, within } from "../support/waiting.mjs";

const storage = new AsyncLocalStorage<string>();

describe.each(levels)("with a $level queue", (level) => {
  test.each([
    ["in no context", undefined],
    ["in a context", "owner"],
  ])("a handler registered %s runs there, now and later, whoever sends", async (_, registered) => {
    const queue = await openQueue<string>(level);
    const seen: unknown[] = [];
    const handler = async (message: { body: string }): Promise<void> => {
      seen.push(storage.getStore());
      await undefined;
      seen.push(storage.getStore());
      // Seen by what follows in this handler, and by no other.
      storage.enterWith(`handler of ${message.body}`);
      await undefined;
      if (storage.getStore() !== `handler of ${message.body}`) seen.push("lost what it entered");
    };
    const consume = () => queue.consume(handler, { concurrency: 3 });
    const consumer = registered === undefined ? consume() : storage.run(registered, consume);
    for (let n = 0; n < 10; n++) {
      await storage.run(`sender ${n}`, async () => {
        await Promise.all([queue.send("a"), queue.send("b")]);
        expect(storage.getStore()).toBe(`sender ${n}`);
      });
    }
    await until(() => queue.stats().acked === 20, "all acked");
    expect(seen).toEqual(Array.from({ length: 40 }, () => registered));
    await consumer.close();
  });

  test("a handler that enters a context and returns at once leaves it to itself", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2, 3, 4, 5]);
    const seen: unknown[] = [];
    const consumer = storage.run("owner", () =>
      queue.consume(({ body }) => {
        seen.push(storage.getStore());
        storage.enterWith(`handler of ${body}`);
      }),
    );
    await until(() => queue.stats().acked === 5, "all acked");
    expect(seen).toEqual(Array.from({ length: 5 }, () => "owner"));
    await consumer.close();
  });

  test("a loop and the promises of acks go on in their caller's", async () => {
    const queue = await openQueue<number>(level);
    const seen: unknown[] = [];
    const loop = storage.run("loop", async () => {
      for await (const message of queue.receive()) {
        seen.push(storage.getStore());
        await message.ack();
        seen.push(storage.getStore());
        await message.ack().catch(() => seen.push(storage.getStore()));
        if (message.body === 9) break;
      }
    });
    for (let n = 0; n < 10; n++) await storage.run(`sender ${n}`, () => queue.send(n));
    await within(loop, "the loop");
    expect(seen).toEqual(Array.from({ length: 30 }, () => "loop"));
  });
});
