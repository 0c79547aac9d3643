/** Leases: who may settle a message, for how long, and what a settlement does. */
import { describe, expect, test } from "vitest";
import { coded, levels, openBroker, openQueue, take, takeOne } from "../support/broker.js";
import { stateOf, until, within } from "../support/waiting.mjs";

const answers = {
  ack: (message: Held) => message.ack(),
  nack: (message: Held) => message.nack(),
  reject: (message: Held) => message.reject(),
  release: (message: Held) => message.release(),
  extend: (message: Held) => message.extend(1000),
} as const;
const verbs = Object.keys(answers) as (keyof typeof answers)[];
type Held = Awaited<ReturnType<typeof takeOne<number>>>;

describe.each(levels)("a $level lease", (level) => {
  test("is exclusive: a leased message goes to nobody else", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2]);
    const first = await takeOne(queue);
    const other = await takeOne(queue);
    expect([first.body, other.body]).toEqual([1, 2]);
    const stream = queue.receive();
    expect(await stateOf(stream.next())).toBe("pending");
    expect(queue.stats()).toMatchObject({ ready: 0, inFlight: 2 });
  });

  test("ends with nack: the message comes again ahead of newer ones, with a higher count", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2, 3, 4]);
    const [one, two] = await take(queue, 2);
    await two?.nack();
    await one?.nack();
    const again = await take(queue, 4);
    expect(again.map(({ body }) => body)).toEqual([1, 2, 3, 4]);
    expect(again.map(({ deliveryCount }) => deliveryCount)).toEqual([2, 2, 1, 1]);
    expect(again.map(({ redelivered }) => redelivered)).toEqual([true, true, false, false]);
  });

  test("ends with nack and a delay: the message comes when the delay is over, and not before", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2]);
    const [one] = await take(queue, 1);
    const from = Date.now();
    await one?.nack({ delay: 150 });
    expect(queue.stats()).toMatchObject({ delayed: 1, ready: 1 });
    expect((await takeOne(queue)).body).toBe(2);
    const again = await takeOne(queue);
    expect(again.body).toBe(1);
    expect(again.deliveryCount).toBe(2);
    // Timers count in whole milliseconds.
    expect(Date.now() - from).toBeGreaterThanOrEqual(149);
    expect(Date.now() - from).toBeLessThan(5000);
  });

  test("ends with release: the message comes again and the delivery does not count", async () => {
    const queue = await openQueue<number>(level, { maxDeliveries: 2 });
    await queue.send(1);
    for (let i = 0; i < 10; i++) await (await takeOne(queue)).release();
    const message = await takeOne(queue);
    expect(message.deliveryCount).toBe(11);
    await message.nack();
    await (await takeOne(queue)).nack();
    await until(() => queue.stats().deadLettered === 1, "two counted deliveries make it a dead letter");
  });

  test("ends with the visibility timeout: the message comes again and the old answers are refused", async () => {
    const queue = await openQueue<number>(level, { visibilityTimeout: 500 });
    await queue.sendBatch([1, 2, 3, 4, 5]);
    const stale = await take(queue, 5);
    await until(() => queue.stats().ready === 5, "the leases end");
    expect(queue.stats()).toMatchObject({ returned: 5, inFlight: 0 });
    for (const [i, verb] of verbs.entries()) {
      await expect(answers[verb](stale[i] as Held), verb).rejects.toEqual(coded("LEASE_LOST"));
    }
    expect(queue.stats()).toMatchObject({ leaseLost: 5, ready: 5, acked: 0 });
  });

  test("a late answer changes nothing about the next delivery", async () => {
    const queue = await openQueue<number>(level, { visibilityTimeout: 500 });
    await queue.sendBatch([1, 2, 3, 4]);
    const stale = await take(queue, 4);
    await until(() => queue.stats().ready === 4, "the leases end");
    const held = await take(queue, 4);
    await Promise.all(held.map((message) => message.extend(60_000)));
    await expect(stale[0]?.ack()).rejects.toEqual(coded("LEASE_LOST"));
    await expect(stale[1]?.nack()).rejects.toEqual(coded("LEASE_LOST"));
    await expect(stale[2]?.reject()).rejects.toEqual(coded("LEASE_LOST"));
    await expect(stale[3]?.release()).rejects.toEqual(coded("LEASE_LOST"));
    expect(queue.stats()).toMatchObject({ inFlight: 4, ready: 0, acked: 0, deadLettered: 0 });
    await Promise.all(held.map((message) => message.ack()));
    expect(queue.stats().acked).toBe(4);
  });

  test("lasts longer after extend", async () => {
    const queue = await openQueue<number>(level, { visibilityTimeout: 300 });
    await queue.sendBatch([1, 2]);
    const [kept, left] = await take(queue, 2);
    await kept?.extend(60_000);
    await until(() => queue.stats().ready === 1, "the lease that was not extended ends");
    expect(queue.stats().inFlight).toBe(1);
    await kept?.ack();
    await expect(left?.ack()).rejects.toEqual(coded("LEASE_LOST"));
    expect((await takeOne(queue)).body).toBe(2);
  });

  test("ends sooner after a shorter extend", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(1);
    const message = await takeOne(queue);
    await message.extend(20);
    await until(() => queue.stats().ready === 1, "the shortened lease ends");
    await expect(message.ack()).rejects.toEqual(coded("LEASE_LOST"));
  });

  test.each(verbs.filter((verb) => verb !== "extend"))(
    "is over after %s: every further answer is refused",
    async (verb) => {
      const queue = await openQueue<number>(level);
      await queue.send(1);
      const message = await takeOne(queue);
      await answers[verb](message);
      expect(message.answered).toBe(true);
      for (const again of verbs) {
        await expect(answers[again](message), again).rejects.toEqual(coded("LEASE_LOST"));
      }
      expect(queue.stats().inFlight).toBe(0);
    },
  );

  test("ends when its consumer closes", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(1);
    let held: Held | undefined;
    const consumer = queue.consume((message) => {
      held = message;
      return new Promise(() => {});
    });
    await until(() => held, "the handler runs");
    await consumer.close({ timeout: 0 });
    await expect(held?.ack()).rejects.toEqual(coded("LEASE_LOST"));
    const again = await takeOne(queue);
    expect([again.body, again.deliveryCount]).toEqual([1, 2]);
  });

  test("the count goes on rising through deliveries of every kind", async () => {
    const queue = await openQueue<number>(level, { maxDeliveries: 0, visibilityTimeout: 300 });
    await queue.send(1);
    const counts: number[] = [];
    for (let i = 0; i < 9; i++) {
      const message = await takeOne(queue);
      counts.push(message.deliveryCount);
      if (i % 3 === 0) await message.nack();
      else if (i % 3 === 1) await message.release();
      else await until(() => queue.stats().ready === 1, "the lease ends");
    }
    expect(counts).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("nobody needs to look at the promises of answers", async () => {
    const rejections: unknown[] = [];
    const note = (reason: unknown): void => void rejections.push(reason);
    process.on("unhandledRejection", note);
    try {
      const broker = await openBroker(level);
      const queue = await broker.queue<number>("tasks", { ...level.queue, visibilityTimeout: 20 });
      await queue.sendBatch([1, 2, 3, 4, 5]);
      const stale = await take(queue, 5);
      await until(() => queue.stats().ready === 5, "the leases end");
      for (const [i, verb] of verbs.entries()) {
        void answers[verb](stale[i] as Held);
        void answers[verb](stale[i] as Held);
      }
      const [open] = await take(queue, 1);
      const stream = queue.receive();
      await broker.close({ timeout: 0 });
      for (const verb of verbs) void answers[verb](open as Held);
      await within(stream.return(), "return");
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(rejections).toEqual([]);
    } finally {
      process.off("unhandledRejection", note);
    }
  });

  test("redelivered messages go ahead of newer ones in the order of their seq, whoever had them", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch(Array.from({ length: 40 }, (_, i) => i));
    const a = await take(queue, 10);
    const b = await take(queue, 10);
    for (const message of [...b.reverse(), ...a.reverse()]) await message.nack();
    expect((await take(queue, 40)).map(({ body }) => body)).toEqual(Array.from({ length: 40 }, (_, i) => i));
  });

  test("prefetched messages whose lease ended before a handler saw them are not handed to it", async () => {
    // Each handler takes a tenth of a lease; the last of a full prefetch waits for several leases.
    const queue = await openQueue<number>(level, { visibilityTimeout: 100, maxDeliveries: 3 });
    await queue.sendBatch(Array.from({ length: 40 }, (_, i) => i));
    const done = new Set<number>();
    const consumer = queue.consume(
      async (message) => {
        await new Promise((resolve) => setTimeout(resolve, 10));
        await message.ack().then(
          () => done.add(message.body),
          () => {},
        );
      },
      { prefetch: 40 },
    );
    await until(() => done.size + queue.stats().deadLettered === 40, "every message is settled");
    await consumer.close();
    // Work that was never late must not be called dead: only handlers fail messages.
    expect(queue.stats().deadLettered).toBe(0);
    expect(done.size).toBe(40);
  });

  test.each(["consume", "receive"])("a lease that is shortened reaches those who %s already", async (how) => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", { ...level.queue, maxDeliveries: 1 });
    const handled: number[] = [];
    const lost: unknown[] = [];
    const handle = async (message: Held): Promise<void> => {
      handled.push(message.body);
      await new Promise((resolve) => setTimeout(resolve, 50));
      await message.ack().catch((error) => lost.push(error));
    };
    if (how === "consume") {
      queue.consume(handle, { prefetch: 30 });
    } else {
      void (async () => {
        for await (const message of queue.receive({ prefetch: 30 })) await handle(message);
      })();
    }
    await queue.send(-1);
    await until(() => queue.stats().acked === 1, "it runs with the old lease");
    await broker.queue("tasks", { visibilityTimeout: 500 });
    // Together they take several leases.
    await queue.sendBatch(Array.from({ length: 30 }, (_, n) => n));
    await until(() => queue.stats().acked === 31, "all are acked", 30_000);
    expect(handled).toEqual([-1, ...Array.from({ length: 30 }, (_, n) => n)]);
    expect(lost).toEqual([]);
    expect(queue.stats().deadLettered).toBe(0);
  });

  test("a lease that has begun keeps its time when the setting is shortened", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    await queue.sendBatch([1, 2]);
    const held = await takeOne(queue);
    await broker.queue("tasks", { visibilityTimeout: 30 });
    await takeOne(queue);
    await until(() => queue.stats().ready === 1, "the lease with the new time ends");
    await held.ack();
    expect(queue.stats()).toMatchObject({ acked: 1, ready: 1, leaseLost: 0 });
  });

  test("what waited too long ahead of a busy handler goes to others, and the count stays right", async () => {
    const queue = await openQueue<string>(level, { visibilityTimeout: 400, maxDeliveries: 1 });
    await queue.sendBatch(["a", "b", "c"]);
    const started: string[] = [];
    let finish = (): void => {};
    let fail = (_: Error): void => {};
    const consumer = queue.consume(
      (message) => {
        started.push(message.body);
        return new Promise<void>((resolve, reject) => {
          finish = resolve;
          fail = reject;
        });
      },
      { prefetch: 3 },
    );
    await until(() => queue.stats().ready === 2, "b and c go back, long before their leases end", 390);
    expect(started).toEqual(["a"]);
    finish();
    await until(() => started.length === 2, "b is taken again");
    fail(new Error("b fails"));
    await consumer.close();
    // The handler of b had begun: that delivery counts. c was only ever ahead.
    await until(() => queue.stats().deadLettered === 1, "b is a dead letter");
    expect(started).toEqual(["a", "b"]);
    expect(queue.peek().map(({ body }) => body)).toEqual(["c"]);
  });
});
