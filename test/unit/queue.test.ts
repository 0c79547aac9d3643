/** Sending, receiving and settling: the same for every level of durability. */
import { describe, expect, test } from "vitest";
import { coded, levels, openBroker, openQueue, take, takeOne } from "../support/broker.js";
import { stateOf, until, within } from "../support/waiting.mjs";

describe.each(levels)("a $level queue", (level) => {
  test("delivers what was sent, in the order of the sends", async () => {
    const queue = await openQueue<number>(level);
    const sends = Array.from({ length: 500 }, (_, i) => queue.send(i));
    const receipts = await Promise.all(sends);
    expect(receipts.map(({ seq }) => seq)).toEqual(receipts.map((_, i) => BigInt(i + 1)));
    expect(receipts[0]?.durability).toBe(level.receipt);
    const messages = await take(queue, 500);
    expect(messages.map(({ body }) => body)).toEqual(receipts.map((_, i) => i));
    expect(messages.map(({ seq }) => seq)).toEqual(receipts.map(({ seq }) => seq));
  });

  test("forgets an acked message", async () => {
    const queue = await openQueue<string>(level);
    await queue.send("once");
    const message = await takeOne(queue);
    expect(message.deliveryCount).toBe(1);
    expect(message.redelivered).toBe(false);
    await message.ack();
    expect(message.answered).toBe(true);
    await until(() => queue.stats().settling === 0, "the ack has settled");
    expect(queue.stats()).toMatchObject({ ready: 0, inFlight: 0, delayed: 0, acked: 1, bytes: 0 });
    expect(queue.peek()).toEqual([]);
  });

  test("delivers to a consumer that was waiting before the send", async () => {
    const queue = await openQueue<string>(level);
    const stream = queue.receive();
    const next = stream.next();
    expect(await stateOf(next)).toBe("pending");
    await queue.send("late");
    expect((await within(next, "the message")).value?.body).toBe("late");
  });

  test("says the wall-clock time of the send", async () => {
    const queue = await openQueue<string>(level);
    const before = Date.now();
    await queue.send("now");
    const { timestamp } = await takeOne(queue);
    expect(timestamp).toBeGreaterThanOrEqual(before);
    expect(timestamp).toBeLessThanOrEqual(Date.now());
  });

  test("sends a batch with seqs without a gap", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(-1);
    const receipt = await queue.sendBatch([0, 1, 2, 3], { headers: { part: "batch" } });
    expect(receipt).toEqual({ firstSeq: 2n, count: 4, durability: level.receipt });
    const messages = await take(queue, 5);
    expect(messages.map(({ body }) => body)).toEqual([-1, 0, 1, 2, 3]);
    expect(messages[4]?.headers).toEqual({ part: "batch" });
  });

  test("an empty batch sends nothing", async () => {
    const queue = await openQueue<number>(level);
    expect((await queue.sendBatch([])).count).toBe(0);
    expect(queue.stats()).toMatchObject({ ready: 0, sent: 0 });
  });

  test("sends nothing of a batch with a message that cannot be encoded", async () => {
    const queue = await openQueue<unknown>(level);
    await expect(queue.sendBatch([1, 2, () => {}, 4])).rejects.toEqual(coded("INVALID_ARGUMENT"));
    await queue.send("after");
    expect((await take(queue, 1)).map(({ body }) => body)).toEqual(["after"]);
    expect(queue.stats()).toMatchObject({ ready: 0, sent: 1 });
  });

  test("sends nothing of a batch that does not fit in a queue that rejects", async () => {
    const queue = await openQueue<number>(level, { capacity: 3, overflow: "reject" });
    await queue.send(0);
    await expect(queue.sendBatch([1, 2, 3])).rejects.toEqual(coded("QUEUE_FULL"));
    expect(queue.stats()).toMatchObject({ ready: 1, sent: 1 });
    expect((await queue.sendBatch([1, 2])).count).toBe(2);
    await expect(queue.sendBatch([1, 2, 3, 4])).rejects.toEqual(coded("MESSAGE_TOO_LARGE"));
  });

  test("holds a batch back until all of it fits in a queue that blocks", async () => {
    const queue = await openQueue<number>(level, { capacity: 3 });
    await queue.sendBatch([0, 1]);
    const batch = queue.sendBatch([2, 3]);
    expect(await stateOf(batch)).toBe("pending");
    expect(queue.stats().ready).toBe(2);
    const [first] = await take(queue, 1);
    await first?.ack();
    expect((await within(batch, "the batch")).firstSeq).toBe(3n);
    expect((await take(queue, 3)).map(({ body }) => body)).toEqual([1, 2, 3]);
  });

  test("trySend is false when the queue is full, and true again when there is room", async () => {
    const queue = await openQueue<number>(level, { capacity: 2 });
    expect([queue.trySend(1), queue.trySend(2), queue.trySend(3)]).toEqual([true, true, false]);
    const [first] = await take(queue, 1);
    expect(first?.body).toBe(1);
    // A message counts until it is settled.
    expect(queue.trySend(3)).toBe(false);
    await first?.ack();
    await until(() => queue.trySend(4), "room");
    expect((await take(queue, 2)).map(({ body }) => body)).toEqual([2, 4]);
  });

  test("a full queue that rejects refuses with QUEUE_FULL and keeps what it has", async () => {
    const queue = await openQueue<number>(level, { capacity: 2, overflow: "reject" });
    const results = await Promise.allSettled([1, 2, 3, 4].map((body) => queue.send(body)));
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "rejected"]);
    expect((results[2] as PromiseRejectedResult).reason).toEqual(coded("QUEUE_FULL"));
    expect((await take(queue, 2)).map(({ body }) => body)).toEqual([1, 2]);
    expect(queue.stats().sent).toBe(2);
  });

  test("a full queue that blocks takes the waiting sends in their order, as room comes", async () => {
    const queue = await openQueue<number>(level, { capacity: 3 });
    const sends = Array.from({ length: 200 }, (_, i) => queue.send(i));
    await Promise.all(sends.slice(0, 3));
    expect(await stateOf(sends[3] as Promise<unknown>)).toBe("pending");
    const received: number[] = [];
    let most = 0;
    for await (const message of queue.receive({ prefetch: 2 })) {
      received.push(message.body);
      const { ready, inFlight, settling } = queue.stats();
      most = Math.max(most, ready + inFlight + settling);
      void message.ack();
      if (received.length === 200) break;
    }
    expect(received).toEqual(sends.map((_, i) => i));
    expect(most).toBeLessThanOrEqual(3);
    const receipts = await within(Promise.all(sends), "the sends");
    expect(receipts.map(({ seq }) => seq)).toEqual(sends.map((_, i) => BigInt(i + 1)));
  });

  test("a full queue does not hold back another queue of the same thread", async () => {
    const broker = await openBroker(level);
    const full = await broker.queue<number>("full", { ...level.queue, capacity: 1 });
    const other = await broker.queue<number>("other", level.queue);
    await full.send(0);
    const blocked = full.send(1);
    expect(await stateOf(blocked)).toBe("pending");
    await within(other.send(1), "a send to the other queue");
    expect(other.trySend(2)).toBe(true);
    await within(other.sendBatch([3, 4]), "a batch to the other queue");
    expect((await take(other, 4)).map(({ body }) => body)).toEqual([1, 2, 3, 4]);
    await (await takeOne(full)).ack();
    await within(blocked, "the blocked send");
  });

  test("many waiting sends cost no more than their number", async () => {
    const queue = await openQueue<number>(level, { capacity: 50 });
    const sends = Array.from({ length: 20_000 }, (_, i) => queue.send(i));
    let received = 0;
    const consumer = queue.consume(({ body }) => {
      expect(body).toBe(received++);
    });
    await within(Promise.all(sends), "20,000 sends through a queue of 50", 30_000);
    await until(() => received === 20_000, "all delivered");
    await consumer.close();
  });

  test("with one consumer, first deliveries follow the sends of all senders", async () => {
    const broker = await openBroker(level);
    const one = await broker.queue<string>("tasks", level.queue);
    const two = await broker.queue<string>("tasks", level.queue);
    const sends: Promise<{ seq: bigint }>[] = [];
    for (let i = 0; i < 100; i++) {
      sends.push((i % 3 === 0 ? two : one).send(String(i)));
      if (i % 10 === 0) await sends.at(-1);
    }
    await Promise.all(sends);
    const messages = await take(one, 100);
    const seqs = messages.map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(messages.map(({ body }) => body)).toEqual(sends.map((_, i) => String(i)));
  });

  test("purge deletes what is not leased and says how much", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch([1, 2, 3, 4, 5]);
    const leased = await take(queue, 2);
    await leased[1]?.nack({ delay: 60_000 });
    expect(await queue.purge()).toBe(4);
    expect(queue.stats()).toMatchObject({ ready: 0, delayed: 0, inFlight: 1, purged: 4 });
    await leased[0]?.ack();
    await queue.send(6);
    expect((await takeOne(queue)).body).toBe(6);
    expect(await queue.purge()).toBe(0);
  });

  test("purge makes room for sends that wait", async () => {
    const queue = await openQueue<number>(level, { capacity: 2 });
    await queue.sendBatch([1, 2]);
    const waiting = queue.send(3);
    expect(await stateOf(waiting)).toBe("pending");
    expect(await queue.purge()).toBe(2);
    await within(waiting, "the send");
    expect((await takeOne(queue)).body).toBe(3);
  });

  test("peek shows the next messages without taking them", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch(Array.from({ length: 30 }, (_, i) => i));
    expect(queue.peek().map(({ body }) => body)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(queue.peek(2).map(({ seq }) => seq)).toEqual([1n, 2n]);
    const [first] = await take(queue, 1);
    expect(queue.peek(1)[0]?.body).toBe(1);
    await first?.nack();
    expect(queue.peek(1)[0]?.body).toBe(0);
    expect(queue.peek(10_000)).toHaveLength(30);
    expect(queue.stats()).toMatchObject({ ready: 30, inFlight: 0 });
  });

  test("peek shows messages larger than its first buffer", async () => {
    const queue = await openQueue<string>(level);
    const large = "x".repeat(100_000);
    for (let i = 0; i < 5; i++) await queue.send(`${i}${large}`);
    expect(queue.peek(5).map(({ body }) => body)).toEqual([0, 1, 2, 3, 4].map((i) => `${i}${large}`));
  });

  test("pause delivers nothing more, resume goes on", async () => {
    const queue = await openQueue<number>(level);
    const received: number[] = [];
    const consumer = queue.consume(({ body }) => {
      received.push(body);
    });
    await queue.send(1);
    await until(() => received.length === 1, "the first message");
    queue.pause();
    expect(queue.stats().paused).toBe(true);
    await queue.sendBatch([2, 3]);
    expect(await stateOf(new Promise<void>(() => {}))).toBe("pending");
    expect(received).toEqual([1]);
    expect(queue.stats().ready).toBe(2);
    queue.resume();
    expect(queue.stats().paused).toBe(false);
    await until(() => received.length === 3, "the rest");
    expect(received).toEqual([1, 2, 3]);
    await consumer.close();
  });

  test("pause leaves the leases alone", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(1);
    const message = await takeOne(queue);
    queue.pause();
    await message.ack();
    await until(() => queue.stats().acked === 1 && queue.stats().settling === 0, "the ack");
  });

  test("its numbers add up", async () => {
    const queue = await openQueue<number>(level);
    await queue.sendBatch(Array.from({ length: 20 }, (_, i) => i));
    const held = await take(queue, 10);
    await held[0]?.ack();
    await held[1]?.nack();
    await held[2]?.nack({ delay: 60_000 });
    await held[3]?.release();
    await held[4]?.reject();
    const settled = (): boolean => queue.stats().settling === 0;
    await until(settled, "ack and reject have settled");
    const stats = queue.stats();
    expect(stats).toMatchObject({
      ready: 12,
      delayed: 1,
      inFlight: 5,
      sent: 20,
      acked: 1,
      returned: 3,
      deadLettered: 1,
      redelivered: 0,
      purged: 0,
      dropped: 0,
      corrupt: 0,
      leaseLost: 0,
    });
    const { ready, delayed, inFlight, settling, acked, deadLettered, purged, dropped } = stats;
    expect(ready + delayed + inFlight + settling + acked + deadLettered + purged + dropped).toBe(stats.sent);
    const again = await take(queue, 12);
    expect(again.filter(({ redelivered }) => redelivered)).toHaveLength(2);
    expect(queue.stats().redelivered).toBe(2);
  });

  test("two handles of one name are one queue, with codec and overflow of their own", async () => {
    const broker = await openBroker(level);
    const text = await broker.queue<string>("tasks", { ...level.queue, codec: "text", capacity: 1 });
    const bytes = await broker.queue<Uint8Array>("tasks", { codec: "bytes", overflow: "reject" });
    await text.send("héllo");
    await expect(bytes.send(Buffer.from("x"))).rejects.toEqual(coded("QUEUE_FULL"));
    const message = await takeOne(bytes);
    expect(Buffer.from(message.body).toString()).toBe("héllo");
    expect(text.stats()).toEqual(bytes.stats());
  });
});
