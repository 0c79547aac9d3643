/** Opening, sharing and closing a broker; what keeps a process alive and what it costs to do nothing. */
import { Worker } from "node:worker_threads";
import { Broker } from "millrace";
import { describe, expect, test } from "vitest";
import {
  coded,
  durableLevels,
  levels,
  open,
  openBroker,
  take,
  takeOne,
  temporaryDirectory,
} from "../support/broker.js";
import { runNode } from "../support/child.mjs";
import { stateOf, until, within } from "../support/waiting.mjs";

const fixture = (name: string): URL => new URL(`./fixtures/${name}.mjs`, import.meta.url);

describe.each(levels)("a $level broker", (level) => {
  test("closed, refuses everything with CLOSED", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    await queue.sendBatch([1, 2, 3, 4, 5]);
    const held = await take(queue, 5);
    const stream = queue.receive();
    await broker.close({ timeout: 0 });
    expect(broker.closed).toBe(true);
    const refused: Record<string, () => unknown> = {
      send: () => queue.send(1),
      trySend: () => queue.trySend(1),
      sendBatch: () => queue.sendBatch([1]),
      "an empty sendBatch": () => queue.sendBatch([]),
      stats: () => queue.stats(),
      "broker.stats": () => broker.stats(),
      peek: () => queue.peek(),
      purge: () => queue.purge(),
      pause: () => queue.pause(),
      resume: () => queue.resume(),
      consume: () => queue.consume(() => {}),
      receive: () => queue.receive(),
      queue: () => broker.queue("other"),
      ack: () => held[0]?.ack(),
      nack: () => held[1]?.nack(),
      reject: () => held[2]?.reject(),
      release: () => held[3]?.release(),
      extend: () => held[4]?.extend(1),
    };
    for (const [what, call] of Object.entries(refused)) {
      await expect((async () => call())(), what).rejects.toEqual(coded("CLOSED"));
    }
    expect(() => Broker.attach(broker.handle)).toThrow(expect.objectContaining({ code: "BROKER_NOT_FOUND" }));
    expect((await stream.next()).done).toBe(true);
    expect(held[0]?.body).toBe(1);
    broker.ref();
    broker.unref();
  });

  test("closes once, however often it is told to", async () => {
    const broker = await openBroker(level);
    await Promise.all([broker.close(), broker.close(), broker[Symbol.asyncDispose]()]);
    await broker.close({ timeout: 0 });
  });

  test("keeps the promises of sends that are under way when it closes", async () => {
    for (let round = 0; round < 50; round++) {
      const broker = await openBroker(level);
      const queue = await broker.queue<number>("tasks", level.queue);
      const sends = [queue.send(1), queue.send(2), queue.sendBatch([3, 4])];
      const closing = broker.close();
      const results = await within(Promise.allSettled(sends), "the sends");
      expect(
        results.map(({ status }) => status),
        `round ${round}`,
      ).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
      await closing;
    }
  });

  test("keeps the promises of acks that are under way when it closes", async () => {
    for (let round = 0; round < 20; round++) {
      const broker = await openBroker(level);
      const queue = await broker.queue<number>("tasks", level.queue);
      await queue.sendBatch([1, 2]);
      const [one, two] = await take(queue, 2);
      const acks = [one?.ack(), two?.ack()];
      await Promise.all([broker.close(), within(Promise.all(acks), "the acks")]);
    }
  });

  test("keeps the promises of sends and acks that are under way when a thread detaches", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    for (let round = 1; round <= 20; round++) {
      const here = Broker.attach(broker.handle);
      const twin = await here.queue<number>("tasks");
      await queue.send(round);
      const message = await takeOne(twin);
      const promises = [twin.send(0), twin.sendBatch([0, 0]), message.ack()];
      await Promise.all([here.close(), within(Promise.all(promises), `round ${round}`)]);
      expect(queue.stats()).toMatchObject({ ready: 3, acked: round });
      expect(await queue.purge()).toBe(3);
    }
  });

  test("rejects sends that wait for room when it closes", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", { ...level.queue, capacity: 1 });
    await queue.send(0);
    const sends: Promise<unknown>[] = [queue.send(1), queue.sendBatch([2]), queue.send(3)];
    expect(await stateOf(Promise.race(sends))).toBe("pending");
    await within(broker.close(), "close");
    for (const send of sends) await expect(within(send, "the send")).rejects.toEqual(coded("CLOSED"));
  });

  test("gives running handlers their time and aborts their signal when it is over", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    await queue.send(1);
    let finished = false;
    const consumer = queue.consume(async (message, { signal }) => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      await message.ack();
      finished = true;
    });
    await until(() => consumer.running === 1, "the handler runs");
    await broker.close({ timeout: 20 });
    expect(finished).toBe(true);
  });

  test("closes within its deadline when a handler hangs", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    await queue.send(1);
    const consumer = queue.consume(() => new Promise(() => {}));
    await until(() => consumer.running === 1, "the handler runs");
    await within(broker.close({ timeout: 30 }), "close", 5000);
  });

  test("is disposed of by `await using`", async () => {
    const broker = await openBroker(level);
    await broker[Symbol.asyncDispose]();
    expect(broker.closed).toBe(true);
  });

  test("works in worker threads that attach to it", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    const results = await broker.queue<{ squared: number; thread: number }>("results", level.queue);
    const workers = [1, 2, 3].map(
      (id) => new Worker(fixture("squares"), { workerData: { handle: broker.handle, id } }),
    );
    try {
      // One that still opens its queues when the broker closes is told so, and dies of it.
      await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
      expect(broker.stats().sessions).toBe(4);
      await Promise.all(Array.from({ length: 300 }, (_, i) => queue.send(i)));
      const squares = new Map<number, number>();
      for await (const message of results.receive()) {
        squares.set(message.body.squared, message.body.thread);
        void message.ack();
        if (squares.size === 300) break;
      }
      expect([...squares.keys()].toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: 300 }, (_, i) => i * i),
      );
      const ended = Promise.all(
        workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve))),
      );
      await broker.close();
      // Told that the broker is closed, their consumers end and nothing keeps the threads alive.
      expect(await within(ended, "the threads end by themselves")).toEqual([0, 0, 0]);
    } finally {
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
  });

  test("a worker that detaches leaves the broker open for the others", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    const here = Broker.attach(broker.handle);
    const twin = await here.queue<number>("tasks");
    await twin.send(1);
    expect(broker.stats().sessions).toBe(2);
    await takeOne(twin);
    await here.close({ timeout: 0 });
    expect(broker.stats().sessions).toBe(1);
    expect(() => twin.trySend(2)).toThrow(expect.objectContaining({ code: "CLOSED" }));
    expect((await takeOne(queue)).deliveryCount).toBe(2);
  });

  test.each([
    ["another broker", { broker: 999_999 }],
    ["another process or copy of the addon", { token: 12345 }],
    ["nothing", { broker: 0, token: 0 }],
  ])("is not found under the handle of %s", async (_, change) => {
    const broker = await openBroker(level);
    expect(() => Broker.attach({ ...broker.handle, ...change })).toThrow(
      expect.objectContaining({ code: "BROKER_NOT_FOUND", name: "MillraceError" }),
    );
  });
});

describe.each(durableLevels)("a $level directory", (level) => {
  test("has one opener in the process", async () => {
    const dir = temporaryDirectory();
    const broker = await open({ dir, ...level.broker });
    await expect(Broker.open({ dir })).rejects.toEqual(coded("STORE_LOCKED"));
    await expect(Broker.open({ dir: `${dir}/.` })).rejects.toEqual(coded("STORE_LOCKED"));
    await (await broker.queue<number>("q")).send(1);
    await broker.close();
    const again = await open({ dir });
    expect((await takeOne(await again.queue<number>("q"))).body).toBe(1);
  });

  test("has one winner among many openers at once", async () => {
    const dir = temporaryDirectory();
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => open({ dir, ...level.broker })));
    const lost = results.filter(({ status }) => status === "rejected");
    expect(lost).toHaveLength(7);
    for (const one of lost) expect((one as PromiseRejectedResult).reason).toEqual(coded("STORE_LOCKED"));
  });

  test("has one opener among processes, and is free when that one dies", async () => {
    const dir = temporaryDirectory();
    const broker = await open({ dir, ...level.broker });
    const second = await runNode(fixture("open-once"), { args: [dir] });
    expect(second).toMatchObject({ code: 0, stdout: "STORE_LOCKED\n" });
    await broker.close();
    // Dies by SIGKILL with the directory open.
    expect(await runNode(fixture("open-once"), { args: [dir, "die"] })).toMatchObject({ signal: "SIGKILL" });
    const again = await open({ dir });
    expect(again.closed).toBe(false);
  });

  test("is free again as soon as close resolves", async () => {
    const dir = temporaryDirectory();
    for (let round = 0; round < 10; round++) {
      const broker = await Broker.open({ dir, ...level.broker });
      await (await broker.queue<number>("q")).send(round);
      await broker.close();
    }
    const last = await open({ dir });
    expect((await last.queue("q")).stats().ready).toBe(10);
  });
});

test("a broker has at most 65,535 queues, opens them in time, and says so when there are no more", async () => {
  for (const options of [{}, { dir: temporaryDirectory(), durability: "process" as const }]) {
    const broker = await open(options);
    for (let made = 0; made < 65_535; ) {
      const some = Math.min(1000, 65_535 - made);
      await Promise.all(Array.from({ length: some }, () => broker.queue(`queue ${made++}`)));
    }
    await expect(broker.queue("one more")).rejects.toEqual(coded("LIMIT_REACHED"));
    const last = await broker.queue<number>("queue 65534");
    await last.send(1);
    expect((await takeOne(last)).body).toBe(1);
    expect(broker.stats().queues).toBe(65_535);
    // Its dead-letter queue cannot be created any more: the letter waits where it is, and says so.
    await last.send(2);
    const dying = await takeOne(last);
    void dying.reject("no place");
    await until(() => last.stats().deadWaiting === 1, "the letter waits");
    expect(last.stats()).toMatchObject({ deadLettered: 0, dropped: 0, settling: 1 });
    await broker.close();
  }
}, 30_000);

describe("a process", () => {
  test.each([
    ["exits by itself when its broker is closed", "closed"],
    ["exits by itself when an unref'd broker is all that is left", "unref"],
    ["exits by itself when an unref'd broker and its idle consumer are all that is left", "unref-consumer"],
    ["exits by itself when an unref'd broker has sent and received before", "unref-busy"],
    ["exits by itself when its worker threads end and the broker is closed", "workers"],
    ["is ended by process.exit with everything open", "exit"],
    ["is ended by an uncaught exception with everything open", "uncaught"],
  ])("%s", async (_, how) => {
    for (const dir of ["", temporaryDirectory()]) {
      const ended = await runNode(fixture("ending"), { args: [how, dir], deadlineMs: 20_000 });
      expect(ended, `${how} ${dir}\n${ended.stderr}`).toMatchObject({
        signal: null,
        code: how === "exit" ? 7 : how === "uncaught" ? 1 : 0,
      });
      expect(ended.stdout).toContain("ready\n");
    }
  });

  test("stays alive while its broker is open", async () => {
    const ended = await runNode(fixture("ending"), {
      args: ["open", temporaryDirectory()],
      deadlineMs: 3000,
    });
    expect(ended).toMatchObject({ signal: "SIGKILL", stdout: "ready\n" });
  });

  test("waits for the confirmation of sends although its broker is unref'd", async () => {
    const dir = temporaryDirectory();
    const ended = await runNode(fixture("ending"), { args: ["unref-send", dir], deadlineMs: 20_000 });
    expect(ended, ended.stderr).toMatchObject({ code: 0, stdout: "ready\nconfirmed\n" });
  });

  test("uses no measurable CPU while an open broker and four parked consumers have nothing to do", async () => {
    for (const dir of ["", temporaryDirectory()]) {
      const ended = await runNode(fixture("idle"), { args: [dir], deadlineMs: 30_000 });
      expect(ended.code, ended.stderr).toBe(0);
      const { cpuMs, wallMs } = JSON.parse(ended.stdout) as { cpuMs: number; wallMs: number };
      expect(wallMs).toBeGreaterThan(1900);
      // V8 and libuv alone stay well under 1 %; one thread that polls shows as 100 %.
      expect(cpuMs / wallMs, `${cpuMs} ms of ${wallMs} ms`).toBeLessThan(0.02);
    }
  });
});
