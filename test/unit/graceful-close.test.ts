/** What a close with time gives to what is at work, and what counts as a failure: only what failed. */
import { Broker, type Message, type Queue } from "millrace";
import { describe, expect, test } from "vitest";
import { coded, levels, open, openBroker, openQueue, take } from "../support/broker.js";
import { stateOf, until, within } from "../support/waiting.mjs";

/** What is left of the queue, each nacked: one failure is the end with `maxDeliveries: 1`. */
async function failures(queue: Queue<string>): Promise<{ dead: number; left: string[] }> {
  const left = queue.peek(100).map(({ body }) => body);
  return { dead: queue.stats().deadLettered, left };
}

describe.each(levels)("closing at work on a $level queue", (level) => {
  const endings: Record<string, (message: Message<string>, signal: AbortSignal) => Promise<void>> = {
    "throws because its signal aborted": (_, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    "throws a turn after its signal aborted": (_, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => setTimeout(() => reject(new Error("late")), 5)),
      ),
    "never ends": () => new Promise(() => {}),
  };

  test.each(Object.entries(endings))("a handler that %s has not failed", async (_, ending) => {
    const queue = await openQueue<string>(level, { maxDeliveries: 1 });
    await queue.sendBatch(["at work", "at work too", "ahead"]);
    let begun = 0;
    const consumer = queue.consume(
      (message, { signal }) => {
        begun++;
        return ending(message, signal);
      },
      { concurrency: 2, prefetch: 3 },
    );
    await until(() => begun === 2, "two handlers");
    await within(consumer.close({ timeout: 10 }), "the close");
    await until(() => queue.stats().ready === 3, "all are back");
    expect(await failures(queue)).toEqual({ dead: 0, left: ["at work", "at work too", "ahead"] });
    const again = await take(queue, 3);
    expect(again.map(({ redelivered }) => redelivered).slice(0, 2)).toEqual([true, true]);
  });

  test("a handler that throws by itself while the close waits has failed", async () => {
    const queue = await openQueue<string>(level, { maxDeliveries: 1 });
    await queue.send("at work");
    let fail: ((error: Error) => void) | undefined;
    let signalled = false;
    const consumer = queue.consume((_, { signal }) => {
      signal.addEventListener("abort", () => {
        signalled = true;
      });
      return new Promise<void>((_resolve, reject) => {
        fail = reject;
      });
    });
    await until(() => fail, "the handler");
    const closing = consumer.close();
    expect(await stateOf(closing)).toBe("pending");
    fail?.(new Error("no"));
    await within(closing, "the close");
    expect(signalled).toBe(false);
    await until(() => queue.stats().deadLettered === 1, "a dead letter");
  });

  test("an answer that a handler gives when its signal aborts counts", async () => {
    const queue = await openQueue<string>(level);
    await queue.send("at work");
    let acked: Promise<void> | undefined;
    const consumer = queue.consume((message, { signal }) => {
      signal.addEventListener("abort", () => {
        acked = message.ack();
      });
      return new Promise(() => {});
    });
    await until(() => consumer.running === 1, "the handler");
    await within(consumer.close({ timeout: 5 }), "the close");
    await acked;
    expect(queue.stats()).toMatchObject({ acked: 1, ready: 0 });
  });

  test("waits for what a loop holds, takes nothing new and gives back what was ahead", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<string>("tasks", level.queue);
    await queue.sendBatch(["at work", "ahead", "ahead too"]);
    let finish = (): void => {};
    let acked: Promise<void> | undefined;
    const seen: string[] = [];
    const stream = queue.receive();
    const loop = (async () => {
      for await (const message of stream) {
        seen.push(message.body);
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
        acked = message.ack();
        await acked;
      }
    })();
    await until(() => seen.length === 1, "the first message");
    const closing = stream.close();
    expect(await stateOf(closing)).toBe("pending");
    expect(queue.stats()).toMatchObject({ inFlight: 1, ready: 2 });
    finish();
    await within(closing, "the close");
    await within(loop, "the loop");
    await acked;
    expect(seen).toEqual(["at work"]);
    expect(queue.stats()).toMatchObject({ acked: 1, inFlight: 0, ready: 2 });
    expect(queue.peek().map(({ body }) => body)).toEqual(["ahead", "ahead too"]);
  });

  test("an ack that is asked after once its thread's broker has closed has been confirmed", async () => {
    const broker = await openBroker(level);
    await (await broker.queue<string>("tasks", level.queue)).sendBatch(["one", "two"]);
    const attached = Broker.attach(broker.handle);
    const [first, second] = await take(await attached.queue<string>("tasks"), 2);
    const acked = [first?.ack(), second?.ack()];
    await within(attached.close(), "the close");
    await within(Promise.all(acked), "the acks");
    expect((await broker.queue("tasks")).stats()).toMatchObject({ acked: 2, ready: 0, inFlight: 0 });
  });

  test("the broker's close waits for loops; what they still hold at its end is no failure", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<string>("tasks", level.queue);
    await queue.sendBatch(["answered in time", "kept"]);
    const stream = queue.receive();
    const first = (await stream.next()).value as Message<string>;
    const second = (await stream.next()).value as Message<string>;
    const from = performance.now();
    const closing = broker.close({ timeout: 200 });
    expect((await within(stream.next(), "the end")).done).toBe(true);
    expect(await stateOf(closing)).toBe("pending");
    await within(first.ack(), "the ack");
    await within(closing, "the close");
    expect(performance.now() - from).toBeGreaterThanOrEqual(199);
    await expect(second.ack()).rejects.toThrow();
  });

  test("a loop that throws, breaks or returns fails the message of its last turn, which ends a poison message", async () => {
    const queue = await openQueue<string>(level, { maxDeliveries: 3 });
    await queue.sendBatch(["poison", "other"]);
    const leave = [
      async () => {
        for await (const message of queue.receive()) if (message.body === "poison") throw new Error("no");
      },
      async () => {
        for await (const message of queue.receive()) if (message.body === "poison") break;
      },
      async () => {
        for await (const message of queue.receive()) if (message.body === "poison") return message;
        return undefined;
      },
    ];
    for (const [n, loop] of leave.entries()) {
      expect(queue.stats()).toMatchObject({ ready: 2, inFlight: 0, deadLettered: 0 });
      await loop().catch((error: Error) => expect(error.message).toBe("no"));
      await until(() => queue.stats().returned + queue.stats().deadLettered > n, "it is back");
    }
    await until(() => queue.stats().deadLettered === 1, "the poison is a dead letter");
    expect(queue.peek().map(({ body }) => body)).toEqual(["other"]);
  });

  test("a loop that answered before it left has failed nothing", async () => {
    const queue = await openQueue<string>(level, { maxDeliveries: 1 });
    await queue.sendBatch(["acked", "released"]);
    for await (const message of queue.receive()) {
      void message.ack();
      break;
    }
    for await (const message of queue.receive()) {
      void message.release();
      break;
    }
    await until(() => queue.stats().acked === 1 && queue.stats().ready === 1, "both answers");
    expect(await failures(queue)).toEqual({ dead: 0, left: ["released"] });
  });

  test("a signal that ends the loop leaves the message of its turn with its holder", async () => {
    const queue = await openQueue<string>(level);
    await queue.sendBatch(["at work", "ahead"]);
    const stop = new AbortController();
    let acked: Promise<void> | undefined;
    for await (const message of queue.receive({ signal: stop.signal })) {
      stop.abort();
      await undefined;
      expect(queue.stats()).toMatchObject({ inFlight: 1, ready: 1 });
      acked = message.ack();
    }
    await acked;
    expect(queue.stats()).toMatchObject({ acked: 1, inFlight: 0, ready: 1 });
    await expect(acked).resolves.toBe(undefined);
  });
});

test("a message that the loop kept from an earlier turn stays with its holder, beyond the loop", async () => {
  const [level] = levels;
  const queue = await openQueue<string>(level as (typeof levels)[number]);
  await queue.sendBatch(["kept", "left"]);
  const kept: Message<string>[] = [];
  for await (const message of queue.receive()) {
    kept.push(message);
    if (kept.length === 2) break;
  }
  await kept[0]?.ack();
  await expect(kept[1]?.ack()).rejects.toEqual(coded("LEASE_LOST"));
  expect(queue.stats()).toMatchObject({ acked: 1, ready: 1 });
});

test("what an ended loop left unanswered holds up no close once its broker has ended", async () => {
  const broker = await open();
  await (await broker.queue<number>("q")).sendBatch([1, 2, 3]);
  const attached = Broker.attach(broker.handle);
  const controller = new AbortController();
  const { signal } = controller;
  const loop = (await attached.queue<number>("q")).receive({ signal, prefetch: 1 });
  const { value: message } = await loop.next();
  controller.abort();
  expect(message?.answered).toBe(false);
  await broker.close({ timeout: 10 });
  await within(attached.close({ timeout: 600_000 }), "the close");
});
