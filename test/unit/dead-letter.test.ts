/** Dead letters: when a message becomes one, where it goes, and what it tells. */
import { describe, expect, test } from "vitest";
import { coded, levels, openBroker, openQueue, take, takeOne } from "../support/broker.js";
import { stateOf, until, within } from "../support/waiting.mjs";

describe.each(levels)("a dead letter of a $level queue", (level) => {
  test("tells its reason, origin, count and times", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<{ n: number }>("tasks", { ...level.queue, maxDeliveries: 2 });
    await queue.send({ n: 0 });
    const { seq } = await queue.send({ n: 1 }, { headers: { trace: "ab" } });
    await (await takeOne(queue)).ack();
    const sent = queue.peek(1)[0]?.timestamp;
    const before = Date.now();
    await (await takeOne(queue)).nack({ reason: "first" });
    const between = Date.now();
    await (await takeOne(queue)).nack({ reason: "no disk left at noon" });
    const after = Date.now();
    const dead = await broker.queue<{ n: number }>("tasks.dead");
    const letter = await takeOne(dead);
    expect(letter.body).toEqual({ n: 1 });
    expect(letter.headers).toEqual({ trace: "ab" });
    expect(letter.timestamp).toBe(sent);
    expect(letter.deliveryCount).toBe(1);
    expect(letter.deadLetter).toMatchObject({
      reason: "no disk left at noon",
      queue: "tasks",
      seq,
      deliveryCount: 2,
    });
    expect(letter.deadLetter?.firstDelivery).toBeGreaterThanOrEqual(before);
    expect(letter.deadLetter?.firstDelivery).toBeLessThanOrEqual(between);
    expect(letter.deadLetter?.lastDelivery).toBeGreaterThanOrEqual(letter.deadLetter?.firstDelivery ?? 0);
    expect(letter.deadLetter?.lastDelivery).toBeLessThanOrEqual(after);
    expect(queue.stats()).toMatchObject({ ready: 0, inFlight: 0, deadLettered: 1 });
    await letter.ack();
  });

  test("an ordinary message has no story", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(1);
    expect(queue.peek(1)[0]?.deadLetter).toBeUndefined();
    expect((await takeOne(queue)).deadLetter).toBeUndefined();
  });

  test("comes at once from reject", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<string>("tasks", level.queue);
    await queue.send("bad");
    await (await takeOne(queue)).reject("not even wrong");
    const letter = await takeOne(await broker.queue<string>("tasks.dead"));
    expect(letter.deadLetter).toMatchObject({ reason: "not even wrong", deliveryCount: 1 });
  });

  test("comes from a handler that throws each time, after maxDeliveries", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<string>("tasks", { ...level.queue, maxDeliveries: 3 });
    await queue.send("bad");
    const counts: number[] = [];
    const consumer = queue.consume(({ deliveryCount }) => {
      counts.push(deliveryCount);
      throw new RangeError("cannot divide by fish");
    });
    const dead = await broker.queue<string>("tasks.dead");
    const letter = await takeOne(dead);
    expect(counts).toEqual([1, 2, 3]);
    expect(letter.deadLetter?.reason).toBe("RangeError: cannot divide by fish");
    await consumer.close();
  });

  test("comes from leases that end, after maxDeliveries", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<string>("tasks", {
      ...level.queue,
      maxDeliveries: 2,
      visibilityTimeout: 20,
    });
    await queue.send("slow");
    await takeOne(queue);
    await takeOne(queue);
    await until(() => queue.stats().deadLettered === 1, "the second lease ends");
    const letter = await takeOne(await broker.queue<string>("tasks.dead"));
    expect(letter.deadLetter).toMatchObject({ reason: "visibility timeout", deliveryCount: 2 });
  });

  test("never comes from consumers that close on it, whose handlers had no time", async () => {
    const queue = await openQueue<string>(level, { maxDeliveries: 2 });
    await queue.send("stuck");
    for (let i = 1; i <= 3; i++) {
      let started = 0;
      const consumer = queue.consume(() => {
        started++;
        return new Promise(() => {});
      });
      await until(() => started === 1, `delivery ${i}`);
      await consumer.close({ timeout: 0 });
    }
    expect(await takeOne(queue)).toMatchObject({ body: "stuck", deliveryCount: 4 });
    expect(queue.stats().deadLettered).toBe(0);
  });

  test("never comes with maxDeliveries 0", async () => {
    const queue = await openQueue<string>(level, { maxDeliveries: 0 });
    await queue.send("again");
    for (let i = 0; i < 30; i++) await (await takeOne(queue)).nack();
    expect((await takeOne(queue)).deliveryCount).toBe(31);
    expect(queue.stats().deadLettered).toBe(0);
  });

  test("goes to the queue that was named", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<string>("tasks", { ...level.queue, deadLetter: "morgue" });
    await queue.send("bad");
    await (await takeOne(queue)).reject();
    const letter = await takeOne(await broker.queue<string>("morgue"));
    expect(letter.deadLetter).toMatchObject({ queue: "tasks", reason: "rejected" });
  });

  test("waits at its source while the dead-letter queue is full, and is not dropped", async () => {
    const broker = await openBroker(level);
    const dead = await broker.queue<number>("tasks.dead", { ...level.queue, capacity: 1 });
    const queue = await broker.queue<number>("tasks", level.queue);
    await queue.sendBatch([1, 2]);
    const [one, two] = await take(queue, 2);
    await one?.reject("first");
    // Its consumer is gone after the last answer; the promise is kept when the letter is there, and not before.
    const second = two?.reject("second") ?? Promise.reject(new Error("no message"));
    expect(await stateOf(second)).toBe("pending");
    await until(() => queue.stats().settling === 1, "the second waits");
    expect(queue.stats()).toMatchObject({ deadWaiting: 1 });
    expect(dead.stats()).toMatchObject({ ready: 1 });
    expect(queue.stats()).toMatchObject({ deadLettered: 1, dropped: 0 });
    await (await takeOne(dead)).ack();
    const letter = await takeOne(dead);
    expect(letter.body).toBe(2);
    expect(letter.deadLetter?.reason).toBe("second");
    await within(second, "the reject");
    await until(() => queue.stats().settling === 0, "the source forgets it");
    expect(queue.stats()).toMatchObject({ deadWaiting: 0, deadLettered: 2 });
  });

  test("does not die again: its queue has no limit of deliveries", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    await queue.send(1);
    await (await takeOne(queue)).reject();
    const dead = await broker.queue<number>("tasks.dead");
    for (let i = 0; i < 10; i++) await (await takeOne(dead)).nack();
    const letter = await takeOne(dead);
    expect(letter.deliveryCount).toBe(11);
    expect(letter.deadLetter?.queue).toBe("tasks");
  });

  test("with a long name and a long reason is whole", async () => {
    const broker = await openBroker(level);
    const name = "é".repeat(125);
    const queue = await broker.queue<string>(name, level.queue);
    await queue.send("bad");
    await (await takeOne(queue)).reject("ü".repeat(5000));
    const letter = await takeOne(await broker.queue<string>(`${name}.dead`));
    expect(letter.body).toBe("bad");
    expect(letter.deadLetter?.queue).toBe(name);
    // Cut somewhere, but never inside a character.
    expect(letter.deadLetter?.reason).toMatch(/^ü{300,}$/);
  });

  test("has a reason that is cut between letters, whatever their bytes", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<string>("tasks", level.queue);
    const dead = await broker.queue<string>("tasks.dead", level.queue);
    // Letters of one to four bytes, one or two units, so that the limits of both cuts fall everywhere in them.
    for (const letter of ["a", "é", "語", "😀", "a😀語é"]) {
      for (let offset = 0; offset < 5; offset++) {
        const reason = "x".repeat(offset) + letter.repeat(2000);
        await queue.send("bad");
        await (await takeOne(queue)).reject(reason);
        const cut = await takeOne(dead);
        const kept = cut.deadLetter?.reason ?? "";
        expect(reason.startsWith(kept), kept.slice(-4)).toBe(true);
        expect(kept.isWellFormed()).toBe(true);
        expect(Buffer.byteLength(kept)).toBeGreaterThan(1020);
        await cut.ack();
      }
    }
    // Half a letter is what JavaScript allows a text to hold; it is no letter, and takes none with it.
    await queue.send("bad");
    await (await takeOne(queue)).reject(`${"x".repeat(1023)}\ud83d`);
    expect((await takeOne(dead)).deadLetter?.reason).toBe("x".repeat(1023));
  });

  test("a message of the largest size can die", async () => {
    const queueOptions = { ...level.queue, codec: "bytes" as const };
    const largest = level.onDisk ? (1 << 20) / 8 - (16 << 10) : 1 << 20;
    const broker = await openBroker(level, { maxMessageBytes: largest });
    const queue = await broker.queue<Uint8Array>("q".repeat(250), queueOptions);
    const body = Buffer.alloc(largest, 7);
    await queue.send(body);
    await (await takeOne(queue)).reject("r".repeat(1024));
    const dead = await broker.queue<Uint8Array>(`${"q".repeat(250)}.dead`, { codec: "bytes" });
    const letter = await takeOne(dead);
    expect(Buffer.compare(letter.body, body)).toBe(0);
  });

  test("a queue whose name has no room for .dead drops its dead and counts them", async () => {
    const queue = await openBroker(level).then((broker) =>
      broker.queue<number>("n".repeat(255), level.queue),
    );
    await queue.send(1);
    await (await takeOne(queue)).reject();
    await until(() => queue.stats().dropped === 1 && queue.stats().settling === 0, "dropped");
    expect(queue.stats()).toMatchObject({ ready: 0, inFlight: 0, deadLettered: 0 });
  });

  test("a queue cannot be its own dead-letter queue", async () => {
    const broker = await openBroker(level);
    await expect(broker.queue("a", { ...level.queue, deadLetter: "a" })).rejects.toEqual(
      coded("OUT_OF_RANGE"),
    );
  });
});

describe("in a directory", () => {
  const [level] = levels.filter(({ receipt }) => receipt === "sync");
  if (level === undefined) throw new Error("there is a level of sync");

  test("the dead letters of a memory queue may go to a durable one", async () => {
    const broker = await openBroker(level);
    const dead = await broker.queue<number>("morgue");
    const queue = await broker.queue<number>("tasks", { durability: "memory", deadLetter: "morgue" });
    await queue.send(1);
    await (await takeOne(queue)).reject("gone");
    const letter = await takeOne(dead);
    expect(letter.body).toBe(1);
    expect(letter.deadLetter).toMatchObject({ queue: "tasks", seq: 1n, reason: "gone" });
    expect(queue.stats()).toMatchObject({ settling: 0, inFlight: 0, bytes: 0, deadLettered: 1 });
  });

  test("the dead letters of a durable queue cannot go to memory, whichever is declared first", async () => {
    const broker = await openBroker(level);
    await broker.queue("memory", { durability: "memory" });
    await expect(broker.queue("durable", { deadLetter: "memory" })).rejects.toEqual(
      coded("INVALID_ARGUMENT"),
    );
    await broker.queue("tasks");
    await expect(broker.queue("tasks.dead", { durability: "memory" })).rejects.toEqual(
      coded("INVALID_ARGUMENT"),
    );
    await broker.queue("tasks.dead");
  });
});
