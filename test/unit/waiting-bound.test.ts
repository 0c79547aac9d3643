/** What may wait for room in one thread: each queue has some of its own, and one that is full takes nobody else's. */
import type { Broker, Queue } from "millrace";
import { expect, test } from "vitest";
import { Allowance } from "../../dist/engine/allowance.js";
import { coded, levels, openBroker, take } from "../support/broker.js";
import { Random, seedOfRun } from "../support/random.mjs";
import { until, within } from "../support/waiting.mjs";

const MIB = 1 << 20;
const body = new Uint8Array(1_000_000);

async function fullQueue(broker: Broker, name: string): Promise<Queue<Uint8Array>> {
  const queue = await broker.queue(name, { capacity: 2, codec: "bytes" });
  await queue.sendBatch([new Uint8Array(0), new Uint8Array(0)]);
  return queue;
}

/** Sends until ten were refused, the last of them small: little room is left. Returns the bytes of bodies that wait. */
async function fill(queue: Queue<Uint8Array>, random: Random): Promise<number> {
  let waiting = 0;
  let refused = 0;
  while (refused < 10) {
    const large = random.chance(0.2) ? [300_000, 400_000] : [body.length];
    const sizes = refused < 5 ? large : [50_000];
    const bodies = sizes.map((size) => body.subarray(0, size));
    const [first] = bodies as [Uint8Array];
    const bytes = sizes.reduce((a, b) => a + b);
    waiting += bytes;
    const sent = bodies.length === 1 ? queue.send(first) : queue.sendBatch(bodies);
    sent.catch((error: { code?: string }) => {
      // Closing the broker ends those that wait.
      if (error.code === "CLOSED") return;
      expect(error).toEqual(coded("QUEUE_FULL"));
      waiting -= bytes;
      refused++;
    });
    if (random.chance(0.1)) await new Promise(setImmediate);
    else await undefined;
  }
  // What was refused last is told by now.
  await new Promise(setImmediate);
  return waiting;
}

test.each(levels.filter(({ level }) => level === "memory" || level === "sync"))(
  "a full queue of a '$level' broker leaves room for the others",
  async (level) => {
    const seed = seedOfRun();
    console.log(`seed ${seed} (MILLRACE_TEST_SEED)`);
    const random = new Random(seed);
    const options = level.onDisk ? { segmentBytes: 16 << 20 } : {};
    const broker = await openBroker(level, options);
    const fine = await broker.queue<Uint8Array>("fine", { codec: "bytes" });
    const takes = async (): Promise<void> => {
      const small = new Uint8Array(random.integer(0, 1000));
      await within(fine.send(small), "a send to a queue with room");
      await within(fine.sendBatch([small, small]), "a batch to a queue with room");
      await until(() => fine.trySend(small), "trySend to a queue with room");
    };

    const first = await fullQueue(broker, "first");
    const firstBytes = await fill(first, random);
    expect(firstBytes).toBeGreaterThan(126 * MIB);
    expect(firstBytes).toBeLessThanOrEqual(129 * MIB);
    await takes();
    // The rest is the same at each level, and takes long on a disk.
    if (level.onDisk) return;
    const second = await fullQueue(broker, "second");
    const secondBytes = await fill(second, random);
    expect(secondBytes).toBeGreaterThan(126 * MIB);
    expect(secondBytes).toBeLessThanOrEqual(129 * MIB);
    await takes();

    // The pot is empty now. Every further queue has what is its own.
    for (const name of ["third", "fourth"]) {
      const queue = await fullQueue(broker, name);
      const small = Array.from({ length: 900 }, () => queue.send(body.subarray(0, 500)));
      for (const sent of small) sent.catch(() => {});
      await expect(Promise.race([...small, until(() => true, "a turn")])).resolves.toBe(true);
      await expect(queue.send(body)).rejects.toEqual(coded("QUEUE_FULL"));
      await takes();
    }

    // What found room gives its bytes back.
    for (const message of await take(second, 1)) await message.ack();
    for (let n = 0; n < 10; n++) for (const message of await take(second, 1)) await message.ack();
    const again = await fill(second, random);
    // Ten places were left by 350 KB each, where all were halves of a batch, to 1 MB; what is refused last leaves a gap.
    expect(again).toBeGreaterThan(2 * MIB);
    expect(again).toBeLessThan(13 * MIB);
  },
);

test("the room that waits is counted exactly", () => {
  const seed = seedOfRun();
  console.log(`seed ${seed} (MILLRACE_TEST_SEED)`);
  const random = new Random(seed);
  const allowance = new Allowance();
  const waiting = new Map<number, number[]>();
  const bytesOf = (queue: number): number => (waiting.get(queue) ?? []).reduce((a, b) => a + b, 0);
  const beyond = (queue: number): number => Math.max(0, bytesOf(queue) - MIB);
  const pot = (): number => [...waiting.keys()].reduce((sum, queue) => sum + beyond(queue), 0);
  for (let step = 0; step < 20_000; step++) {
    const queue = random.integer(1, 6);
    const list = waiting.get(queue) ?? [];
    waiting.set(queue, list);
    if (random.chance(0.45) && list.length > 0) {
      allowance.add(queue, -(list.splice(random.integer(0, list.length - 1), 1)[0] as number));
      continue;
    }
    const bytes = random.chance(0.5) ? random.integer(1, 2000) : random.integer(1, 8 * MIB);
    const before = pot();
    const first = list.length === 0;
    list.push(bytes);
    const fits =
      bytesOf(queue) <= MIB || pot() === before || (beyond(queue) <= 128 * MIB && pot() <= 256 * MIB);
    expect(allowance.allows(queue, bytes), `step ${step}`).toBe(first || fits);
    if (first || fits) allowance.add(queue, bytes);
    else list.pop();
  }
});
