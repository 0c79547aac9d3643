/** Bodies of several messages lie in one piece of memory: nothing that is done with one of them breaks another. */
import { MessageChannel } from "node:worker_threads";
import { Ring } from "millrace";
import { describe, expect, test } from "vitest";
import { levels, openBroker, take } from "../support/broker.js";
import { Random, seedOfRun } from "../support/random.mjs";
import { within } from "../support/waiting.mjs";

type Movable = ArrayBuffer & Record<"transfer" | "transferToFixedLength", (() => ArrayBuffer) | undefined>;

/** Whether `transfer()`, called in any way, and byte streams heed the mark too: from Node.js 24 on. */
const everythingHeeds = Number(process.versions.node.split(".")[0]) >= 24;

/** The ways to move memory away: each may refuse (throw), copy, or move what belongs to this message alone. */
const moves: Record<string, (body: Uint8Array) => unknown> = {
  structuredClone: (body) => structuredClone(body, { transfer: [body.buffer as ArrayBuffer] }),
  "structuredClone of something else": (body) =>
    structuredClone(1, { transfer: [body.buffer as ArrayBuffer] }),
  postMessage: (body) => {
    const { port1 } = new MessageChannel();
    try {
      port1.postMessage(body, [body.buffer as ArrayBuffer]);
    } finally {
      port1.close();
    }
  },
  transfer: (body) => (body.buffer as Movable).transfer?.(),
  transferToFixedLength: (body) => (body.buffer as Movable).transferToFixedLength?.(),
  Response: (body) => new Response(body as Uint8Array<ArrayBuffer>),
  ...(everythingHeeds
    ? {
        "transfer, from the prototype": (body: Uint8Array) =>
          (ArrayBuffer.prototype as Movable).transfer?.call(body.buffer),
        "a byte stream": (body: Uint8Array) =>
          new ReadableStream({ type: "bytes", start: (controller) => controller.enqueue(body as never) }),
      }
    : {}),
};

function move(body: Uint8Array, how: string): void {
  try {
    moves[how]?.(body);
  } catch {
    // Refused.
  }
}

const sizes = [0, 1, 20, 64, 65, 300, 5000, 70_000];

describe.each(levels)("neighbours of a body of a '$level' queue", (level) => {
  test.each(Object.keys(moves))("survive %s", async (how) => {
    const seed = seedOfRun();
    console.log(`seed ${seed} (MILLRACE_TEST_SEED)`);
    const random = new Random(seed);
    const broker = await openBroker(level);
    const queue = await broker.queue<Uint8Array>("tasks", { ...level.queue, codec: "bytes" });
    const bodies = Array.from({ length: 20 }, () => random.bytes(random.pick(sizes)));
    for (const body of bodies) await queue.send(body, { headers: { length: `${body.length}` } });
    move(random.pick(queue.peek(20)).body, how);
    const messages = await take(queue, bodies.length);
    for (let n = 0; n < 5; n++) move(random.pick(messages).body, how);
    for (const [at, message] of messages.entries()) {
      expect(Buffer.compare(message.body, bodies[at] as Buffer), `body ${at}`).toBe(0);
      expect(message.headers.length).toBe(`${bodies[at]?.length}`);
      await within(message.ack(), `ack ${at}`);
    }
    expect(queue.stats()).toMatchObject({ acked: 20, leaseLost: 0, inFlight: 0 });
  });
});

test.each(Object.keys(moves))("messages of a ring that were popped together survive %s", (how) => {
  const ring = Ring.create({ slots: 64, slotBytes: 128 });
  const sent = Array.from({ length: 40 }, (_, n) => new Uint8Array(n + 1).fill(n));
  ring.tryPushBatch(sent);
  const popped = ring.tryPopBatch(64);
  move(popped[7] as Uint8Array, how);
  move(popped[39] as Uint8Array, how);
  expect(popped.map((message) => [...message])).toEqual(sent.map((message) => [...message]));
});
