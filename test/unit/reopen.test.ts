/** What a directory still knows when it is opened again. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Broker, type BrokerOptions } from "millrace";
import { describe, expect, test } from "vitest";
import { coded, durableLevels, open, take, takeOne, temporaryDirectory } from "../support/broker.js";
import { until } from "../support/waiting.mjs";

describe.each(durableLevels)("a $level directory opened again", ({ broker: base }) => {
  /** A directory, and how to open it. */
  function store(): { dir: string; reopen: (options?: BrokerOptions) => Promise<Broker> } {
    const dir = temporaryDirectory();
    return { dir, reopen: (options) => open({ dir, ...base, ...options }) };
  }

  test("delivers what was sent and not settled, in order, and nothing else", async () => {
    const { reopen } = store();
    const first = await reopen();
    const queue = await first.queue<number>("tasks");
    await queue.sendBatch(Array.from({ length: 100 }, (_, i) => i));
    const held = await take(queue, 60);
    await Promise.all(held.filter((_, i) => i % 2 === 0).map((message) => message.ack()));
    await first.close({ timeout: 0 });
    const second = await reopen();
    const again = await second.queue<number>("tasks");
    expect(again.stats()).toMatchObject({ ready: 70, inFlight: 0, delayed: 0 });
    const bodies = (await take(again, 70)).map(({ body }) => body);
    expect(bodies).toEqual(Array.from({ length: 100 }, (_, i) => i).filter((i) => i >= 60 || i % 2 === 1));
  });

  test("goes on counting seqs", async () => {
    const { reopen } = store();
    for (let round = 0; round < 4; round++) {
      const broker = await reopen();
      const queue = await broker.queue<number>("tasks");
      expect((await queue.send(round)).seq).toBe(BigInt(round + 1));
      await (await takeOne(queue)).ack();
      await broker.close();
    }
  });

  test("what was settled stays settled, whatever settled it", async () => {
    const { reopen } = store();
    const first = await reopen();
    const queue = await first.queue<string>("tasks");
    await queue.sendBatch(["acked", "rejected", "purged"]);
    const [acked, rejected] = await take(queue, 2);
    await acked?.ack();
    await rejected?.reject("bad");
    expect(await queue.purge()).toBe(1);
    await first.close({ timeout: 0 });
    for (let round = 0; round < 3; round++) {
      const broker = await reopen();
      const again = await broker.queue<string>("tasks");
      expect(again.stats()).toMatchObject({ ready: 0, delayed: 0, inFlight: 0, settling: 0 });
      const dead = await broker.queue<string>("tasks.dead");
      expect(dead.stats().ready).toBe(1);
      const letter = dead.peek(1)[0];
      expect(letter?.body).toBe("rejected");
      expect(letter?.deadLetter).toMatchObject({ reason: "bad", queue: "tasks", seq: 2n, deliveryCount: 1 });
      await broker.close();
    }
  });

  test("counts the deliveries of before", async () => {
    const { reopen } = store();
    const first = await reopen();
    const queue = await first.queue<string>("tasks", { maxDeliveries: 3 });
    await queue.sendBatch(["nacked", "held", "released", "new"]);
    const [nacked, held, released] = await take(queue, 3);
    await nacked?.nack();
    await released?.release();
    expect(held?.deliveryCount).toBe(1);
    await first.close({ timeout: 0 });
    const second = await reopen();
    const again = await second.queue<string>("tasks");
    const messages = await take(again, 4);
    expect(messages.map(({ body }) => body)).toEqual(["nacked", "held", "released", "new"]);
    expect(messages.map(({ deliveryCount }) => deliveryCount)).toEqual([2, 2, 2, 1]);
    for (const message of messages) await message.nack();
    const third = await take(again, 4);
    for (const message of third) await message.nack();
    // nacked twice after one counted delivery before: three. The released one did not count.
    await until(() => again.stats().deadLettered >= 1, "dead letters");
    const dead = await second.queue<string>("tasks.dead");
    expect(dead.peek().map(({ body }) => body)).toContain("nacked");
    expect(dead.peek().map(({ body }) => body)).not.toContain("released");
    expect(dead.peek().map(({ body }) => body)).not.toContain("new");
  });

  test("a delay goes on across the reopening", async () => {
    const { reopen } = store();
    const first = await reopen();
    const queue = await first.queue<string>("tasks");
    await queue.sendBatch(["soon", "late"]);
    const [soon, late] = await take(queue, 2);
    const from = Date.now();
    await soon?.nack({ delay: 400 });
    await late?.nack({ delay: 3_600_000 });
    await first.close({ timeout: 0 });
    const second = await reopen();
    const again = await second.queue<string>("tasks");
    expect(again.stats().delayed).toBeGreaterThanOrEqual(1);
    const message = await takeOne(again);
    expect(message.body).toBe("soon");
    expect(Date.now() - from).toBeGreaterThanOrEqual(399);
    expect(again.stats().delayed).toBe(1);
  });

  test("keeps the options of its queues", async () => {
    const { reopen } = store();
    const first = await reopen();
    await first.queue("tasks", {
      capacity: 2,
      maxDeliveries: 1,
      visibilityTimeout: 50,
      deadLetter: "morgue",
    });
    await first.close({ timeout: 0 });
    const second = await reopen();
    const queue = await second.queue<number>("tasks", { overflow: "reject" });
    await queue.sendBatch([1, 2]);
    await expect(queue.send(3)).rejects.toEqual(coded("QUEUE_FULL"));
    await takeOne(queue);
    await until(() => queue.stats().deadLettered === 1, "one lease of 50 ms, one delivery");
    const morgue = await second.queue<number>("morgue");
    await until(() => morgue.stats().ready === 1, "its dead letter is there");
    expect(morgue.peek(1)[0]?.deadLetter?.reason).toBe("visibility timeout");
    // An option that is given replaces the stored one; the others stay.
    await second.queue("tasks", { capacity: 5 });
    await second.close();
    const third = await reopen();
    const again = await third.queue<number>("tasks", { overflow: "reject" });
    await again.sendBatch([4, 5, 6, 7]);
    await expect(again.send(8)).rejects.toEqual(coded("QUEUE_FULL"));
    await (await takeOne(again)).nack();
    await until(() => again.stats().deadLettered === 1, "maxDeliveries 1 is still there");
  });

  test("keeps queues with hostile names apart, and makes no path of them", async () => {
    const { dir, reopen } = store();
    const names = [
      "../../etc/passwd",
      "..",
      ".",
      "/",
      "a/b",
      "a\\b",
      " ",
      "a b",
      "__proto__",
      "constructor",
      "\u202eevil",
      "é",
      "e\u0301",
      "名前",
      "\ud83d\ude00",
      "%00",
      "$(reboot)",
      "n".repeat(255),
      "é".repeat(127),
    ];
    const first = await reopen();
    for (const [i, name] of names.entries()) await (await first.queue<number>(name)).send(i);
    await first.close({ timeout: 0 });
    const second = await reopen();
    for (const [i, name] of names.entries()) {
      const queue = await second.queue<number>(name);
      expect(queue.name).toBe(name);
      expect((await takeOne(queue)).body).toBe(i);
    }
    expect(second.stats().queues).toBe(names.length);
    const { readdirSync } = await import("node:fs");
    for (const file of readdirSync(dir)) expect(file).toMatch(/^[\w.-]+$/);
  });

  test("forgets memory queues but not their neighbours", async () => {
    const { reopen } = store();
    const first = await reopen();
    const memory = await first.queue<string>("memory", { durability: "memory" });
    const durable = await first.queue<string>("durable");
    await memory.send("gone");
    await durable.send("kept");
    await expect(first.queue("memory", { durability: "durable" })).rejects.toEqual(coded("INVALID_ARGUMENT"));
    await expect(first.queue("durable", { durability: "memory" })).rejects.toEqual(coded("INVALID_ARGUMENT"));
    await first.close({ timeout: 0 });
    const second = await reopen();
    expect((await second.queue<string>("memory", { durability: "memory" })).stats().ready).toBe(0);
    expect((await takeOne(await second.queue<string>("durable"))).body).toBe("kept");
  });

  test("may be opened with other settings", async () => {
    const { reopen } = store();
    const first = await reopen();
    await (await first.queue<string>("tasks")).send("small");
    await first.close({ timeout: 0 });
    const second = await reopen({ durability: "process", maxMessageBytes: 5, checkpointBytes: 1 << 20 });
    const queue = await second.queue<string>("tasks");
    await expect(queue.send("too large")).rejects.toEqual(coded("MESSAGE_TOO_LARGE"));
    expect((await takeOne(queue)).body).toBe("small");
    await second.close();
  });

  test("is created with the rights of its owner only", async () => {
    const { mkdtempSync, rmSync, readdirSync, statSync } = await import("node:fs");
    const { join } = await import("node:path");
    const parent = mkdtempSync(join(temporaryDirectory(), "p"));
    const dir = join(parent, "a", "b", "store");
    const broker = await open({ dir, ...base });
    await (await broker.queue("q")).send(1);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    for (const file of readdirSync(dir)) expect(statSync(join(dir, file)).mode & 0o777, file).toBe(0o600);
    await broker.close();
    rmSync(parent, { recursive: true });
  });

  test("survives many rounds of recycling with what is still owed", async () => {
    const { reopen } = store();
    const small = { segmentBytes: 256 << 10, checkpointBytes: 64 << 10, maxMessageBytes: 4096 };
    const first = await reopen(small);
    const queue = await first.queue<string>("tasks");
    const kept = await first.queue<string>("kept");
    await kept.sendBatch(Array.from({ length: 20 }, (_, i) => `kept ${i}`));
    const filler = "f".repeat(1000);
    for (let round = 0; round < 40; round++) {
      await queue.sendBatch(Array.from({ length: 20 }, () => filler));
      await Promise.all((await take(queue, 20)).map((message) => message.ack()));
    }
    // 800 KB went through segments of 256 KB; what is kept of them is bounded.
    await until(() => first.stats().segments <= 8, "segments come back");
    expect(first.stats().checkpoints).toBeGreaterThan(0);
    await first.close({ timeout: 0 });
    const second = await reopen();
    const again = await second.queue<string>("kept");
    expect((await take(again, 20)).map(({ body }) => body)).toEqual(
      Array.from({ length: 20 }, (_, i) => `kept ${i}`),
    );
    expect((await second.queue("tasks")).stats().ready).toBe(0);
  });
});

test("a clean close leaves nothing to cut", async () => {
  const dir = temporaryDirectory();
  const first = await Broker.open({ dir, segmentBytes: 1 << 20 });
  await (await first.queue<number>("q")).send(1);
  await first.close({ timeout: 0 });
  const second = await open({ dir });
  expect(second.stats().tornBytes).toBe(0);
  expect((await takeOne(await second.queue<number>("q"))).body).toBe(1);
});

test("a torn end is cut, and said where and how much", async () => {
  const dir = temporaryDirectory();
  const first = await open({ dir, segmentBytes: 1 << 20 });
  const queue = await first.queue<string>("q", { codec: "text" });
  for (const body of ["one", "two", "the last one"]) await queue.send(body);
  // What a power cut in the middle of a write would leave.
  const copy = temporaryDirectory();
  cpSync(dir, copy, { recursive: true });
  const name =
    readdirSync(copy).find((file) => readFileSync(join(copy, file)).includes("the last one")) ?? "";
  const bytes = readFileSync(join(copy, name));
  const at = bytes.indexOf("the last one");
  bytes.fill(0, at + 4, at + 8);
  writeFileSync(join(copy, name), bytes);
  const broker = await open({ dir: copy });
  const { tornAt, tornBytes } = broker.stats();
  const [, file, offset] = /^(.+):(\d+)$/.exec(tornAt) ?? [];
  expect(file).toBe(name);
  // The commit that the bytes are in, and nothing before it.
  expect(Number(offset)).toBeGreaterThan(bytes.indexOf("two"));
  expect(Number(offset)).toBeLessThan(at);
  expect(Number(offset) + tornBytes).toBeGreaterThan(at);
  const left = (await broker.queue<string>("q", { codec: "text" })).peek();
  expect(left.map(({ body }) => body)).toEqual(["one", "two"]);
});

test("the default settings make a store that works", async () => {
  const dir = temporaryDirectory();
  const broker = await open({ dir });
  expect(broker.durability).toBe("sync");
  const queue = await broker.queue<string>("tasks");
  expect((await queue.send("x".repeat(1_000_000))).durability).toBe("sync");
  expect((await takeOne(queue)).body).toHaveLength(1_000_000);
});
