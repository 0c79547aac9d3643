/** Batches that find no room: they keep their place, and everybody behind keeps theirs. */
import { describe, expect, test } from "vitest";
import { coded, levels, openBroker, openQueue, take } from "../support/broker.js";
import { stateOf, until, within } from "../support/waiting.mjs";

async function ackAll(queue: Parameters<typeof take>[0], count: number): Promise<unknown[]> {
  const messages = await take(queue, count);
  const bodies = messages.map(({ body }) => body);
  await Promise.all(messages.map((message) => message.ack()));
  return bodies;
}

describe.each(levels)("a batch that finds a '$level' queue full", (level) => {
  test("is not overtaken by what is sent later", async () => {
    const queue = await openQueue<string>(level, { capacity: 4 });
    await queue.sendBatch(["1", "2", "3", "4"]);
    const batch = queue.sendBatch(["b1", "b2", "b3"]);
    const later = [queue.send("c"), queue.send("d"), queue.sendBatch(["e1", "e2"]), queue.send("f")];
    expect(queue.trySend("overtakes")).toBe(false);
    // Room for two messages is none for the batch, nor for those behind it.
    expect(await ackAll(queue, 2)).toEqual(["1", "2"]);
    expect(await stateOf(batch)).toBe("pending");
    expect(await stateOf(Promise.race(later))).toBe("pending");
    const bodies: unknown[] = [];
    while (bodies.length < 10) bodies.push(...(await ackAll(queue, 1)));
    expect(bodies).toEqual(["3", "4", "b1", "b2", "b3", "c", "d", "e1", "e2", "f"]);
    const receipt = await within(batch, "the batch");
    expect(receipt).toMatchObject({ firstSeq: 5n, count: 3 });
    await within(Promise.all(later), "those behind it");
  });

  test("gets its turn although many others send", async () => {
    const queue = await openQueue<number>(level, { capacity: 10 });
    await queue.sendBatch(Array.from({ length: 10 }, () => 0));
    let done = false;
    const batch = queue.sendBatch([1, 1, 1, 1, 1]).then(() => {
      done = true;
    });
    const consumer = queue.consume(() => {});
    const sends: Promise<unknown>[] = [];
    for (let n = 0; n < 1000 && !done; n++) {
      sends.push(queue.send(2));
      if (n % 10 === 0) await new Promise(setImmediate);
    }
    await within(batch, "the batch");
    await within(Promise.all(sends), "the others");
    await consumer.close();
  });

  test("is refused by a queue that refuses, and holds back nobody", async () => {
    const queue = await openQueue<number>(level, { capacity: 2, overflow: "reject" });
    await queue.sendBatch([1, 2]);
    await expect(queue.sendBatch([3])).rejects.toEqual(coded("QUEUE_FULL"));
    await ackAll(queue, 1);
    await queue.send(4);
    expect(await ackAll(queue, 2)).toEqual([2, 4]);
  });
});

describe.each(levels)("handles of one '$level' queue, of which one refuses when it is full", (level) => {
  test("settle every promise, and reject only what is not delivered", async () => {
    const broker = await openBroker(level);
    const patient = await broker.queue<string>("tasks", { ...level.queue, capacity: 4 });
    const strict = await broker.queue<string>("tasks", { ...level.queue, overflow: "reject" });
    await patient.sendBatch(["1", "2"]);
    const outcomes: string[] = [];
    const note = (what: string, sent: Promise<unknown>): Promise<void> =>
      sent.then(
        () => void outcomes.push(what),
        () => void outcomes.push(`${what} refused`),
      );
    const all = [
      note("batch", patient.sendBatch(["b1", "b2", "b3", "b4"])),
      note("patient", patient.send("patient")),
      note("strict", strict.send("strict")),
      note("last", patient.send("last")),
    ];
    const delivered: unknown[] = [];
    const consumer = patient.consume(({ body }) => void delivered.push(body));
    await within(Promise.all(all), "every promise");
    const wanted = ["1", "2", "b1", "b2", "b3", "b4", "patient", "last"];
    if (outcomes.includes("strict")) wanted.splice(7, 0, "strict");
    await until(() => delivered.length === wanted.length, "the deliveries");
    expect(delivered).toEqual(wanted);
    expect(outcomes).toHaveLength(4);
    await consumer.close();
  });
});

describe.each(levels)("what waits for one full '$level' queue", (level) => {
  test("holds back nothing that waits for another", async () => {
    const broker = await openBroker(level);
    const stuck = await broker.queue<number>("stuck", { ...level.queue, capacity: 1 });
    const moving = await broker.queue<number>("moving", { ...level.queue, capacity: 100 });
    await stuck.send(0);
    const waiting = stuck.send(1);
    await moving.sendBatch(Array.from({ length: 100 }, (_, n) => n));
    const sends = Array.from({ length: 300 }, (_, n) => moving.send(100 + n));
    const bodies: number[] = [];
    const consumer = moving.consume(({ body }) => void bodies.push(body), { prefetch: 100 });
    await within(Promise.all(sends), "those of the queue that moves");
    await until(() => bodies.length === 400, "their deliveries");
    expect(bodies).toEqual(Array.from({ length: 400 }, (_, n) => n));
    expect(await stateOf(waiting)).toBe("pending");
    await ackAll(stuck, 1);
    await within(waiting, "the other one");
    await consumer.close();
  });
});

test.each([-5, Number.NaN, 1.5, null, "2"])(
  "a batch that says its length is %s is refused",
  async (length) => {
    const queue = await openQueue<number>(levels[0] as (typeof levels)[0]);
    const lying = new Proxy([1, 2], {
      get: (target, key) => (key === "length" ? length : Reflect.get(target, key)),
    });
    await expect(queue.sendBatch(lying)).rejects.toEqual(coded("INVALID_ARGUMENT"));
    expect(queue.stats().ready).toBe(0);
  },
);

test("a batch that cannot be read is refused whole", async () => {
  const queue = await openQueue<number>(levels[0] as (typeof levels)[0]);
  const trap = (): never => {
    throw new Error("from the trap");
  };
  const hostile = new Proxy([1, 2], {
    get: (target, key) => (key === "1" ? trap() : Reflect.get(target, key)),
  });
  await expect(queue.sendBatch(hostile)).rejects.toEqual(coded("INVALID_ARGUMENT"));
  expect(queue.stats().ready).toBe(0);
});
