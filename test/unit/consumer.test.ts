/** Handlers and iterators: how many at once, what ends them, and what they leave behind. */
import type { Message } from "millrace";
import { describe, expect, test } from "vitest";
import { coded, levels, openBroker, openQueue, take, takeOne } from "../support/broker.js";
import { stateOf, until, within } from "../support/waiting.mjs";

/** A handler's promise in the test's hand. */
function deferred(): { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void } {
  let resolve = (): void => {};
  let reject = (_: unknown): void => {};
  const promise = new Promise<void>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  return { promise, resolve, reject };
}

describe.each(levels)("a consumer of a $level queue", (level) => {
  test("acks what its handler returned from, now or later", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2, 3, 4]);
    const consumer = queue.consume(({ body }) => (body % 2 === 0 ? Promise.resolve("done") : "done"));
    await until(() => queue.stats().acked === 4, "four acks");
    await consumer.close();
    await until(() => queue.stats().settling === 0, "settled");
    expect(queue.stats()).toMatchObject({ ready: 0, inFlight: 0, returned: 0 });
  });

  test("nacks what its handler threw on, now or later", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2]);
    const seen: string[] = [];
    const consumer = queue.consume(({ body, deliveryCount }) => {
      seen.push(`${body}/${deliveryCount}`);
      if (deliveryCount > 1) return undefined;
      if (body === 1) throw new Error("now");
      return Promise.reject(new Error("later"));
    });
    await until(() => queue.stats().acked === 2, "both succeed the second time");
    expect(seen.toSorted()).toEqual(["1/1", "1/2", "2/1", "2/2"]);
    await consumer.close();
  });

  test.each([
    ["undefined", undefined],
    ["null", null],
    ["a string", "no"],
    ["a symbol", Symbol("no")],
    ["an object without a prototype", Object.create(null)],
    [
      "an error whose message throws",
      Object.defineProperty(new Error(), "message", { get: () => BigInt(1.5) }),
    ],
  ])("nacks what its handler threw on, even when it threw %s", async (_, thrown) => {
    const queue = await openQueue<string>(level, { maxDeliveries: 2 });
    await queue.sendBatch(["now", "later"]);
    const consumer = queue.consume(({ body }) => {
      if (body === "now") throw thrown;
      return Promise.reject(thrown);
    });
    await until(() => queue.stats().deadLettered === 2, "both are dead letters");
    expect(queue.stats().acked).toBe(0);
    await consumer.close();
  });

  test("leaves the message alone when its handler answered", async () => {
    const queue = await openQueue<number>(level, { maxDeliveries: 9 });
    await queue.sendBatch([1, 2, 3]);
    const consumer = queue.consume(async (message) => {
      if (message.deliveryCount > 1) return;
      if (message.body === 1) await message.reject();
      if (message.body === 2) await message.nack();
      if (message.body === 3) {
        await message.ack();
        throw new Error("after the ack");
      }
    });
    await until(() => queue.stats().acked === 2 && queue.stats().deadLettered === 1, "all settled");
    expect(queue.stats().returned).toBe(1);
    await consumer.close();
  });

  test("survives a handler whose result cannot be looked at", async () => {
    const queue = await openQueue<number>(level, { maxDeliveries: 1 });
    await queue.send(1);
    // biome-ignore lint/suspicious/noThenProperty: a result that only looks like a promise is the point.
    const hostile = Object.defineProperty({}, "then", {
      get() {
        throw new Error("do not look");
      },
    });
    const consumer = queue.consume(() => hostile);
    await until(() => queue.stats().deadLettered === 1, "it counts as a failure");
    expect(consumer.running).toBe(0);
    await consumer.close();
  });

  test("a result that settles twice counts once", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2, 3]);
    const consumer = queue.consume(() => ({
      // biome-ignore lint/suspicious/noThenProperty: a badly made thenable is the point.
      then(done: () => void, failed: (error: Error) => void) {
        done();
        failed(new Error("twice"));
        done();
      },
    }));
    await until(() => queue.stats().acked === 3, "all acked");
    expect(consumer.running).toBe(0);
    expect(queue.stats().returned).toBe(0);
    await consumer.close();
  });

  test("runs as many handlers at once as it may, and no more", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch(Array.from({ length: 50 }, (_, i) => i));
    const gates: (() => void)[] = [];
    let most = 0;
    const consumer = queue.consume(
      () => {
        most = Math.max(most, consumer.running);
        return new Promise<void>((resolve) => gates.push(resolve));
      },
      { concurrency: 7 },
    );
    await until(() => gates.length === 7, "seven handlers");
    expect(consumer.running).toBe(7);
    let opened = 0;
    while (opened < 50) {
      await until(() => gates.length > opened, "one more");
      gates[opened++]?.();
    }
    await until(() => queue.stats().acked === 50, "all acked");
    expect(most).toBe(7);
    await consumer.close();
  });

  test("handlers of concurrency 1 follow each other in order", async () => {
    const queue = await openQueue<number>(level);
    const log: string[] = [];
    const consumer = queue.consume(async ({ body }) => {
      log.push(`start ${body}`);
      await new Promise((resolve) => setImmediate(resolve));
      log.push(`end ${body}`);
    });
    for (let i = 0; i < 20; i++) await queue.send(i);
    await until(() => log.length === 40, "all handled");
    expect(log).toEqual(Array.from({ length: 20 }, (_, i) => [`start ${i}`, `end ${i}`]).flat());
    await consumer.close();
  });

  test("leases no more than its prefetch", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch(Array.from({ length: 100 }, (_, i) => i));
    const gate = deferred();
    const consumer = queue.consume(() => gate.promise, { concurrency: 2, prefetch: 9 });
    await until(() => consumer.running === 2, "handlers run");
    expect(queue.stats()).toMatchObject({ inFlight: 9, ready: 91 });
    gate.resolve();
    await until(() => queue.stats().acked === 100, "all acked");
    await consumer.close();
  });

  test("leases no more than its prefetch when handlers answer once more after they returned", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch(Array.from({ length: 200 }, (_, i) => i));
    const late: Promise<string>[] = [];
    let leasedMax = 0;
    const consumer = queue.consume(
      async (message) => {
        leasedMax = Math.max(leasedMax, queue.stats().inFlight);
        setTimeout(
          () =>
            late.push(
              message.ack().then(
                () => "acked",
                ({ code }) => code,
              ),
            ),
          1,
        );
        await new Promise((resolve) => setTimeout(resolve, 2 * (message.body % 2)));
      },
      { concurrency: 4, prefetch: 4 },
    );
    await until(() => late.length === 200, "all are answered");
    await consumer.close();
    expect(new Set(await Promise.all(late))).toEqual(new Set(["acked", "LEASE_LOST"]));
    expect(leasedMax).toBeLessThanOrEqual(4);
    expect(queue.stats()).toMatchObject({ acked: 200, ready: 0 });
  });

  test("close gives back what no handler saw, uncounted, and waits for those that run", async () => {
    const queue = await openQueue<number>(level, { maxDeliveries: 1 });
    await queue.sendBatch(Array.from({ length: 10 }, (_, i) => i));
    const gate = deferred();
    let aborted: unknown;
    const consumer = queue.consume(
      async (_, { signal }) => {
        signal.addEventListener("abort", () => {
          aborted = signal.reason;
        });
        await gate.promise;
      },
      { prefetch: 10 },
    );
    await until(() => queue.stats().inFlight === 10, "ten leased");
    const closing = consumer.close();
    expect(await stateOf(closing)).toBe("pending");
    expect(aborted, "the running one still has time").toBe(undefined);
    expect(queue.stats()).toMatchObject({ inFlight: 1, ready: 9 });
    gate.resolve();
    await within(closing, "close");
    expect(aborted).toBe(undefined);
    expect(consumer.running).toBe(0);
    await until(() => queue.stats().acked === 1 && queue.stats().settling === 0, "the running one is acked");
    // Uncounted: with maxDeliveries 1 a counted delivery would make each a dead letter on its next failure.
    const rest = await take(queue, 9);
    expect(rest.map(({ body }) => body)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(queue.stats().deadLettered).toBe(0);
  });

  test("close stops waiting at its deadline; what still ran goes back", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(1);
    const consumer = queue.consume(() => new Promise(() => {}));
    await until(() => consumer.running === 1, "the handler runs");
    const from = performance.now();
    await within(consumer.close({ timeout: 50 }), "close");
    expect(performance.now() - from).toBeGreaterThanOrEqual(49);
    expect((await takeOne(queue)).deliveryCount).toBe(2);
  });

  test.each([2 ** 31 - 1, 2 ** 31, 30 * 24 * 3600 * 1000])(
    "close waits with a deadline of %s ms",
    async (timeout) => {
      const queue = await openQueue<number>(level);
      await queue.send(1);
      const work = deferred();
      const consumer = queue.consume(() => work.promise);
      await until(() => consumer.running === 1, "the handler runs");
      const closed = consumer.close({ timeout });
      await new Promise((resolve) => setTimeout(resolve, 20)); // far longer than a timer that overflows takes
      expect(await stateOf(closed)).toBe("pending");
      work.resolve();
      await within(closed, "the close");
      await until(() => queue.stats().acked === 1, "the ack");
    },
  );

  test("may be closed again from the abort that closing causes", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(1);
    let again: Promise<void> | undefined;
    const consumer = queue.consume((_, { signal }) => {
      return new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => {
          again = consumer.close();
          resolve();
        });
      });
    });
    await until(() => consumer.running === 1, "the handler runs");
    await within(consumer.close({ timeout: 5 }), "the close", 5000);
    await within(again as Promise<void>, "the close from within", 5000);
    await within(consumer.closed, "closed");
  });

  test("closing twice is closing once", async () => {
    const queue = await openQueue<number>(level);
    const consumer = queue.consume(() => {});
    const [one, two] = [consumer.close(), consumer.close({ timeout: 1 })];
    await Promise.all([one, two]);
    await consumer.close();
    await consumer[Symbol.asyncDispose]();
  });

  test("takes nothing after close", async () => {
    const queue = await openQueue<number>(level);
    let seen = 0;
    const consumer = queue.consume(() => {
      seen++;
    });
    await consumer.close();
    await queue.send(1);
    expect((await takeOne(queue)).body).toBe(1);
    expect(seen).toBe(0);
  });

  test("may close itself from its handler", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2, 3]);
    let seen = 0;
    const consumer = queue.consume(() => {
      seen++;
      void consumer.close();
    });
    await until(() => seen === 1, "the first");
    await consumer.close();
    await until(() => queue.stats().acked === 1, "the first is acked");
    expect(queue.stats()).toMatchObject({ ready: 2, inFlight: 0 });
    expect(seen).toBe(1);
  });

  test("two consumers share a queue: together they see each message once", async () => {
    const queue = await openQueue<number>(level);
    const seen: number[] = [];
    const consumers = [1, 2, 3].map(() => queue.consume(({ body }) => void seen.push(body), { prefetch: 2 }));
    await Promise.all(Array.from({ length: 1000 }, (_, i) => queue.send(i)));
    await until(() => queue.stats().acked === 1000, "all acked");
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    await Promise.all(consumers.map((consumer) => consumer.close()));
  });

  test("a consumer that closes passes its wake-up on", async () => {
    const queue = await openQueue<number>(level);
    for (let round = 0; round < 20; round++) {
      const leaving = queue.receive();
      const waiting = leaving.next();
      const staying = queue.receive();
      const next = staying.next();
      const send = queue.send(round);
      await leaving.return();
      const got = await within(Promise.race([next, waiting.then((r) => (r.done ? next : r))]), "the message");
      await got.value?.ack();
      await staying.return();
      await send;
    }
  });

  test("says when there is no memory to take with, and goes on when there is some", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue("tasks", { ...level.queue, codec: "bytes" });
    const errors: Error[] = [];
    const consumer = queue.consume(() => {}, { onError: (error) => void errors.push(error) });
    queue.pause();
    for (let n = 0; n < 3; n++) await queue.send(Buffer.alloc(100_000));
    const ArrayBufferThen = globalThis.ArrayBuffer;
    class Exhausted {
      constructor() {
        throw new RangeError("Array buffer allocation failed");
      }
    }
    Object.assign(globalThis, { ArrayBuffer: Exhausted });
    try {
      queue.resume();
      await until(() => errors.length > 1, "two tries");
    } finally {
      Object.assign(globalThis, { ArrayBuffer: ArrayBufferThen });
    }
    expect(errors[0]?.message).toBe("Array buffer allocation failed");
    await until(() => queue.stats().acked === 3, "it goes on");
    await consumer.close();
    await within(consumer.closed, "closed");
  });

  test("hands out again what a handler put back, without a turn of its own", async () => {
    const queue = await openQueue<number>(level, { maxDeliveries: 0 });
    await queue.send(1);
    let deliveries = 0;
    const consumer = queue.consume((message) => {
      if (++deliveries < 300) return message.release().then(() => {});
      return undefined;
    });
    await until(() => queue.stats().acked === 1, "300 deliveries", 20_000);
    expect(deliveries).toBe(300);
    await consumer.close();
  });
});

describe.each(levels)("an iterator over a $level queue", (level) => {
  test("leaving the loop gives back what was prefetched, and the last message as a failure; earlier ones stay", async () => {
    const queue = await openQueue<number>(level, { maxDeliveries: 2 });
    await queue.sendBatch(Array.from({ length: 20 }, (_, i) => i));
    const held: Message<number>[] = [];
    for await (const message of queue.receive({ prefetch: 8 })) {
      held.push(message);
      expect(queue.stats().inFlight).toBe(8);
      if (held.length === 2) break;
    }
    expect(queue.stats()).toMatchObject({ inFlight: 1, ready: 19 });
    await held[0]?.ack();
    await expect(held[1]?.ack()).rejects.toEqual(coded("LEASE_LOST"));
    const rest = await take(queue, 19);
    expect(rest.map(({ body }) => body)).toEqual(Array.from({ length: 19 }, (_, i) => i + 1));
    // Only the one that the loop had seen has a failure: the second one ends it.
    for (const message of rest) void message.nack();
    await until(() => queue.stats().deadLettered === 1, "the message of the last turn is a dead letter");
    expect(queue.stats().ready).toBe(18);
  });

  test("yields no more than its prefetch before something is settled", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2, 3, 4]);
    const stream = queue.receive({ prefetch: 2 });
    const one = await within(stream.next(), "one");
    await within(stream.next(), "two");
    const third = stream.next();
    expect(await stateOf(third)).toBe("pending");
    expect(queue.stats()).toMatchObject({ inFlight: 2, ready: 2 });
    await one.value?.ack();
    expect((await within(third, "three")).value?.body).toBe(3);
    await stream.return();
  });

  test("serves several waiting calls of next in their order", async () => {
    const queue = await openQueue<number>(level);
    const stream = queue.receive();
    const nexts = [stream.next(), stream.next(), stream.next()];
    await queue.sendBatch([1, 2, 3]);
    const results = await within(Promise.all(nexts), "three messages");
    expect(results.map(({ value }) => value?.body)).toEqual([1, 2, 3]);
    await stream.return();
  });

  test("ends when its signal aborts, also while it waits", async () => {
    const queue = await openQueue<number>(level);
    const controller = new AbortController();
    const stream = queue.receive({ signal: controller.signal });
    const next = stream.next();
    controller.abort();
    expect(await within(next, "the end")).toEqual({ done: true, value: undefined });
    expect((await stream.next()).done).toBe(true);
    const late = queue.receive({ signal: controller.signal });
    expect((await within(late.next(), "the end")).done).toBe(true);
    await queue.send(1);
    expect((await takeOne(queue)).deliveryCount).toBe(1);
  });

  test("return ends waiting calls of next", async () => {
    const queue = await openQueue<number>(level);
    const stream = queue.receive();
    const nexts = [stream.next(), stream.next()];
    await stream.return();
    for (const next of nexts) expect((await within(next, "the end")).done).toBe(true);
    await stream.return();
    await stream[Symbol.asyncDispose]();
  });

  test("ends without an error when the broker closes", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    const stream = queue.receive();
    const next = stream.next();
    await broker.close();
    expect((await within(next, "the end")).done).toBe(true);
  });

  test("goes on when what it yielded was left to the visibility timeout", async () => {
    const queue = await openQueue<number>(level, { visibilityTimeout: 40, maxDeliveries: 0 });
    await queue.sendBatch([1, 2, 3]);
    const stream = queue.receive({ prefetch: 2 });
    const left = [await stream.next(), await stream.next()].map(({ value }) => value?.body);
    expect(left).toEqual([1, 2]);
    const seen = new Set<number>();
    while (seen.size < 3) {
      const { value } = await within(stream.next(), "the next message");
      seen.add(value?.body as number);
      void value?.ack();
    }
    await stream.return();
    await until(() => queue.stats().acked === 3, "each settled once");
  });

  test.each([1, 4])(
    "yields everything when others settle its messages, with a prefetch of %s",
    async (prefetch) => {
      const queue = await openQueue<number>(level);
      await queue.sendBatch(Array.from({ length: 50 }, (_, n) => n));
      const stream = queue.receive({ prefetch });
      const other = await openQueue<number>(level);
      let held: Message<number> | undefined;
      // Settles a message of the stream while the stream is about to be told of others.
      const settling = other.consume(() => void held?.ack());
      const bodies: number[] = [];
      for (let n = 0; n < 50; n++) {
        const next = within(stream.next(), `message ${n + 1}`);
        void other.send(n);
        const { value } = await next;
        held = value as Message<number>;
        bodies.push(held.body);
        if (n % 3 === 0) await other.send(n);
        if (n % 2 === 0) void held.ack();
        else if (!held.answered) await other.send(n);
        await until(() => held?.answered, "an answer");
      }
      expect(bodies).toEqual(Array.from({ length: 50 }, (_, n) => n));
      await settling.close();
      await stream.return();
    },
  );

  test("nack within the loop brings the message back into the same loop", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2]);
    const seen: string[] = [];
    for await (const message of queue.receive({ prefetch: 1 })) {
      seen.push(`${message.body}/${message.deliveryCount}`);
      if (message.deliveryCount === 1) await message.nack();
      else await message.ack();
      if (seen.length === 4) break;
    }
    expect(seen).toEqual(["1/1", "1/2", "2/1", "2/2"]);
  });
});
