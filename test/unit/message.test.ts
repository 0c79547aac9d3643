/** What travels: bodies through each codec, headers, and the limits of both. */
import type { Headers } from "millrace";
import { describe, expect, test } from "vitest";
import { coded, levels, openBroker, openQueue, take, takeOne } from "../support/broker.js";
import { Random, seedOfRun } from "../support/random.mjs";

describe.each(levels)("a message of a $level queue", (level) => {
  test("carries every value that JSON can carry", async () => {
    const queue = await openQueue<unknown>(level);
    const bodies = [
      null,
      true,
      0,
      -0.5,
      1e300,
      "",
      "\u0000\u2028 \ud83d\ude00 é",
      "\ud800 alone",
      [],
      {},
      [[[]]],
      { a: { b: [1, "2", null] } },
      JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}'),
      "x".repeat(70_000),
      "é".repeat(30_000),
    ];
    await Promise.all(bodies.map((body) => queue.send(body)));
    const received = (await take(queue, bodies.length)).map(({ body }) => body);
    expect(received.map((body) => JSON.stringify(body))).toEqual(bodies.map((body) => JSON.stringify(body)));
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  test.each([
    ["undefined", undefined],
    ["a function", () => {}],
    ["a symbol", Symbol("s")],
    ["a BigInt", 1n],
    ["a cycle", cycle()],
    [
      "a toJSON that throws",
      {
        toJSON() {
          throw new Error("no");
        },
      },
    ],
    [
      "a getter that throws",
      {
        get a() {
          throw new Error("no");
        },
      },
    ],
  ])("refuses %s as JSON, in each way of sending", async (_, body) => {
    const queue = await openQueue<unknown>(level);
    await expect(queue.send(body)).rejects.toEqual(coded("INVALID_ARGUMENT"));
    expect(() => queue.trySend(body)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    await expect(queue.sendBatch([1, body])).rejects.toEqual(coded("INVALID_ARGUMENT"));
    expect(queue.stats()).toMatchObject({ sent: 0, ready: 0 });
    await queue.send("still fine");
    expect((await takeOne(queue)).body).toBe("still fine");
  });

  test("carries bytes unaltered, whatever they are a view of", async () => {
    const seed = seedOfRun();
    const random = new Random(seed);
    const queue = await openQueue<Uint8Array>(level, { codec: "bytes" });
    const shared = new Uint8Array(new SharedArrayBuffer(64)).fill(9);
    const bodies: Uint8Array[] = [
      new Uint8Array(0),
      random.bytes(1),
      shared,
      Buffer.alloc(40, 1).subarray(3, 20),
    ];
    for (let i = 0; i < 100; i++) bodies.push(random.bytes(random.integer(0, 3000)));
    bodies.push(random.bytes(100_000));
    await Promise.all(bodies.map((body) => queue.send(body)));
    const received = await take(queue, bodies.length);
    for (const [i, { body }] of received.entries()) {
      expect(Buffer.compare(body, bodies[i] as Uint8Array), `body ${i}, seed ${seed}`).toBe(0);
    }
  });

  test("is a copy: changing the bytes after send changes nothing", async () => {
    const queue = await openQueue<Uint8Array>(level, { codec: "bytes" });
    const body = Buffer.from("before");
    const send = queue.send(body);
    body.write("after!");
    const batch = [Buffer.from("before")];
    const sendBatch = queue.sendBatch(batch);
    batch[0]?.write("after!");
    await Promise.all([send, sendBatch]);
    for (const message of await take(queue, 2)) expect(Buffer.from(message.body).toString()).toBe("before");
  });

  test("bodies of one delivery do not share their bytes with each other", async () => {
    const queue = await openQueue<Uint8Array>(level, { codec: "bytes" });
    await queue.sendBatch([Buffer.alloc(8, 1), Buffer.alloc(8, 2)]);
    const [one, two] = await take(queue, 2);
    one?.body.fill(0xff);
    expect(Buffer.compare(two?.body ?? Buffer.alloc(0), Buffer.alloc(8, 2))).toBe(0);
    expect([one?.seq, two?.seq, two?.deliveryCount]).toEqual([1n, 2n, 1]);
    await two?.nack();
    await one?.nack();
    const [again] = await take(queue, 1);
    expect(Buffer.compare(again?.body ?? Buffer.alloc(0), Buffer.alloc(8, 1))).toBe(0);
  });

  test.each([
    ["a string", "text"],
    ["an array", [1, 2]],
    ["an ArrayBuffer", new ArrayBuffer(4)],
    ["another typed array", new Uint16Array(2)],
    ["null", null],
    ["a proxy of bytes", new Proxy(new Uint8Array(3), {})],
    ["an object that looks like bytes", Object.create(Uint8Array.prototype)],
  ])("refuses %s as bytes", async (_, body) => {
    const queue = await openQueue<unknown>(level, { codec: "bytes" });
    await expect(queue.send(body)).rejects.toEqual(coded("INVALID_ARGUMENT"));
    expect(() => queue.trySend(body)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    await expect(queue.sendBatch([Buffer.from("a"), body])).rejects.toEqual(coded("INVALID_ARGUMENT"));
    expect(queue.stats().sent).toBe(0);
  });

  test("bytes that lie about their length are sent with their real one", async () => {
    class Liar extends Uint8Array {
      override get length(): number {
        return 10;
      }
      override get byteLength(): number {
        return 10;
      }
    }
    const queue = await openQueue<Uint8Array>(level, { codec: "bytes" });
    await queue.send(Buffer.alloc(64, 0xaa));
    await queue.send(new Liar(3).fill(7));
    await queue.send(new Liar(300).fill(8));
    const messages = await take(queue, 3);
    expect(messages.map(({ body }) => body.length)).toEqual([64, 3, 300]);
  });

  test("carries text unaltered, and nothing but text", async () => {
    const queue = await openQueue<unknown>(level, { codec: "text" });
    const bodies = ["", "plain", "\ufeffmark", "\u0000", "\ud83d\ude00", "é".repeat(1000)];
    for (const body of bodies) await queue.send(body);
    expect((await take(queue, bodies.length)).map(({ body }) => body)).toEqual(bodies);
    for (const body of [1, null, undefined, {}, Buffer.from("x"), new String("x")]) {
      await expect(queue.send(body)).rejects.toEqual(coded("INVALID_ARGUMENT"));
    }
  });

  test("refuses text that UTF-8 cannot carry instead of altering it", async () => {
    const queue = await openQueue<string>(level, { codec: "text" });
    await expect(queue.send("half of \ud83d")).rejects.toEqual(coded("INVALID_ARGUMENT"));
    await expect(queue.send("ok", { headers: { "\ud800": "x" } })).rejects.toEqual(coded("INVALID_ARGUMENT"));
    await expect(queue.send("ok", { headers: { x: "\udfff" } })).rejects.toEqual(coded("INVALID_ARGUMENT"));
    expect(queue.stats().sent).toBe(0);
  });

  test.each([
    ["json", Buffer.from("{broken")],
    ["json", Buffer.alloc(0)],
    ["json", Buffer.from([0x22, 0xff, 0x22])],
    ["text", Buffer.from([0x61, 0xff, 0xfe])],
  ] as const)("whose bytes are not %s says CODEC_FAILED and can still be settled", async (codec, bytes) => {
    const broker = await openBroker(level);
    const raw = await broker.queue<Uint8Array>("tasks", { ...level.queue, codec: "bytes" });
    const queue = await broker.queue("tasks", { codec });
    await raw.send(bytes);
    const message = await takeOne(queue);
    expect(() => message.body).toThrow(
      expect.objectContaining({ code: "CODEC_FAILED", name: "MillraceError" }),
    );
    expect(() => message.body).toThrow(expect.objectContaining({ code: "CODEC_FAILED" }));
    await message.ack();
    expect(queue.stats().acked).toBe(1);
  });

  test("carries headers in a map without a prototype", async () => {
    const queue = await openQueue<number>(level);
    const headers: Headers = JSON.parse(
      '{"__proto__": "p", "constructor": "c", "": "empty", "Ünï": "\\u0000"}',
    );
    await queue.send(1, { headers });
    await queue.send(2);
    await queue.send(3, { headers: {} });
    const [one, two, three] = await take(queue, 3);
    expect(Object.getPrototypeOf(one?.headers)).toBeNull();
    expect(Object.entries(one?.headers ?? {}).toSorted()).toEqual(Object.entries(headers).toSorted());
    expect(Object.keys(two?.headers ?? { none: "" })).toEqual([]);
    expect(Object.keys(three?.headers ?? { none: "" })).toEqual([]);
    expect(({} as { p?: string }).p).toBeUndefined();
  });

  test("takes its headers from own properties only", async () => {
    const queue = await openQueue<number>(level);
    await queue.send(1, {
      headers: Object.create({ inherited: "no" }, { own: { value: "yes", enumerable: true } }),
    });
    expect({ ...(await takeOne(queue)).headers }).toEqual({ own: "yes" });
  });

  test("may have 65,535 bytes of headers and no more", async () => {
    const queue = await openQueue<number>(level);
    const most = { h: "x".repeat(65_535 - 5) };
    await queue.send(1, { headers: most });
    expect((await takeOne(queue)).headers.h).toHaveLength(65_530);
    await expect(queue.send(1, { headers: { h: `${most.h}x` } })).rejects.toEqual(coded("OUT_OF_RANGE"));
    await expect(queue.send(1, { headers: { h: "é".repeat(40_000) } })).rejects.toMatchObject({
      code: expect.stringMatching(/^(OUT_OF_RANGE|INVALID_ARGUMENT)$/),
    });
    expect(queue.stats().sent).toBe(1);
  });

  test("may be as large as the limit and no larger", async () => {
    const broker = await openBroker(level, { maxMessageBytes: 1000 });
    const queue = await broker.queue<Uint8Array>("tasks", { ...level.queue, codec: "bytes" });
    const text = await broker.queue<string>("tasks", { codec: "text" });
    await queue.send(Buffer.alloc(1000, 1));
    await queue.send(Buffer.alloc(990, 2), { headers: { a: "12345" } });
    await text.send("é".repeat(500));
    await text.send("x".repeat(1000));
    for (const send of [
      () => queue.send(Buffer.alloc(1001)),
      () => queue.send(Buffer.alloc(1 << 20)),
      () => queue.send(Buffer.alloc(991), { headers: { a: "12345" } }),
      () => text.send("é".repeat(501)),
      () => text.send("x".repeat(1001)),
      () => text.send("x".repeat(1 << 22)),
      () => queue.sendBatch([Buffer.alloc(1), Buffer.alloc(1001)]),
      async () => queue.trySend(Buffer.alloc(1001)),
    ]) {
      await expect(send()).rejects.toEqual(coded("MESSAGE_TOO_LARGE"));
    }
    expect(queue.stats()).toMatchObject({ sent: 4, ready: 4 });
    expect((await take(queue, 4)).map(({ body }) => body.length)).toEqual([1000, 990, 1000, 1000]);
  });

  test("sends made while another is being encoded do not disturb it", async () => {
    const queue = await openQueue<unknown>(level);
    const meddling = (how: () => unknown): unknown => ({
      toJSON() {
        how();
        return "meddler";
      },
    });
    await queue.sendBatch(["a", meddling(() => queue.trySend("inner 1")), "b"]);
    await queue.sendBatch(["c", meddling(() => void queue.sendBatch(["inner 2", "inner 3"])), "d"]);
    await queue.send(meddling(() => void queue.send("inner 4")));
    const bodies = (await take(queue, 11)).map(({ body }) => body as string);
    expect(bodies.toSorted()).toEqual(
      [
        "a",
        "meddler",
        "b",
        "c",
        "meddler",
        "d",
        "meddler",
        "inner 1",
        "inner 2",
        "inner 3",
        "inner 4",
      ].toSorted(),
    );
    expect(queue.stats().ready).toBe(0);
  });

  test("a batch that changes while it is being encoded is sent as it was or not at all", async () => {
    const queue = await openQueue<unknown>(level);
    const growing: unknown[] = ["a"];
    growing.push({
      toJSON() {
        growing.push("late");
        return "b";
      },
    });
    const shrinking: unknown[] = [
      {
        toJSON() {
          shrinking.length = 1;
          return "c";
        },
      },
      "d",
      "e",
    ];
    const sent: number[] = [];
    for (const batch of [growing, shrinking]) {
      await queue.sendBatch(batch).then(
        ({ count }) => sent.push(count),
        (error: unknown) => expect(error).toMatchObject({ code: "INVALID_ARGUMENT" }),
      );
    }
    expect(queue.stats().ready).toBe(sent.reduce((sum, count) => sum + count, 0));
  });

  test("of any size up to the limit arrives, mixed with others", async () => {
    const seed = seedOfRun();
    const random = new Random(seed);
    const queue = await openQueue<Uint8Array>(level, { codec: "bytes" });
    const limit = level.onDisk ? (1 << 20) / 8 - (16 << 10) : 1 << 20;
    const sizes = Array.from({ length: 120 }, () => Math.floor(limit ** random.next()));
    sizes.push(limit, limit - 1, limit, 0);
    const bodies = sizes.map((size) => Buffer.alloc(size, random.integer(0, 255)));
    const sends = bodies.map((body) => queue.send(body));
    let at = 0;
    for await (const message of queue.receive({ prefetch: 7 })) {
      expect(Buffer.compare(message.body, bodies[at] as Buffer), `message ${at}, seed ${seed}`).toBe(0);
      void message.ack();
      if (++at === bodies.length) break;
    }
    await Promise.all(sends);
  });
});

function cycle(): unknown {
  const body: { self?: unknown } = {};
  body.self = body;
  return body;
}
