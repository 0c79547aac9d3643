/** A queue consumed in worker threads: threads that die are replaced, and closing is bounded. */
import type { PoolOptions, Queue, WorkerPool } from "millrace";
import { describe, expect, onTestFinished, test } from "vitest";
import { coded, levels, openBroker } from "../support/broker.js";
import { smallHeap } from "../support/node-version.js";
import { until, within } from "../support/waiting.mjs";

const agent = new URL("./fixtures/agent.mjs", import.meta.url);

interface Work {
  readonly n: number;
  readonly how?: string;
}
interface Done {
  readonly n: number;
  readonly thread: number;
  readonly count: number;
  readonly data?: unknown;
}

describe.each(levels)("a pool on a $level queue", (level) => {
  async function start(
    options: PoolOptions,
    module: URL | string = agent,
    maxDeliveries = 3,
  ): Promise<{ pool: WorkerPool; tasks: Queue<Work>; done: Queue<Done> }> {
    const broker = await openBroker(level);
    const tasks = await broker.queue<Work>("tasks", { ...level.queue, maxDeliveries });
    const done = await broker.queue<Done>("done", level.queue);
    const pool = tasks.consumeInWorkers(module, options);
    onTestFinished(() => pool.close({ timeout: 0 }));
    return { pool, tasks, done };
  }

  async function results(done: Queue<Done>, count: number): Promise<Done[]> {
    const found: Done[] = [];
    const stream = done.receive();
    while (found.length < count) {
      const { value } = await within(stream.next(), `result ${found.length + 1} of ${count}`, 20_000);
      if (value === undefined) throw new Error("the stream ended");
      found.push(value.body);
      await value.ack();
    }
    await stream.return();
    return found;
  }

  test("spreads the messages over its threads and gives each its data", async () => {
    const { pool, tasks, done } = await start({ threads: 2, prefetch: 1, data: { greeting: "hello" } });
    await pool.ready;
    expect(pool.threads).toBe(2);
    await tasks.sendBatch(Array.from({ length: 60 }, (_, n) => ({ n, how: "slow" })));
    const all = await results(done, 60);
    expect(all.map(({ n }) => n).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => n));
    expect(new Set(all.map(({ thread }) => thread)).size).toBe(2);
    expect(all[0]?.data).toEqual({ greeting: "hello" });
    await until(() => tasks.stats().acked === 60, "all acked");
    expect(pool.restarts).toBe(0);
  });

  test.each(["exit", "uncaught", "memory"])(
    "replaces a thread that dies by %s, and its messages go on",
    async (how) => {
      const errors: Error[] = [];
      const { pool, tasks, done } = await start({
        threads: 2,
        onError: (error) => errors.push(error),
        resourceLimits: how === "memory" ? smallHeap() : {},
      });
      await pool.ready;
      await tasks.sendBatch([{ n: 0 }, { n: 1, how }, { n: 2 }, { n: 3 }]);
      const all = await results(done, 4);
      expect(all.map(({ n }) => n).toSorted()).toEqual([0, 1, 2, 3]);
      expect(all.find(({ n }) => n === 1)?.count).toBe(2);
      await until(() => pool.restarts === 1, "the replacement");
      expect(errors.length).toBeGreaterThan(0);
      expect(errors[0]).toEqual(coded("POOL_FAILED"));
      await tasks.send({ n: 4 });
      expect((await results(done, 1))[0]?.n).toBe(4);
    },
  );

  test("a message that kills every thread becomes a dead letter, and the others are done", async () => {
    const { pool, tasks, done } = await start({ threads: 1 });
    await pool.ready;
    await tasks.sendBatch([{ n: 0, how: "always exit" }, { n: 1 }, { n: 2 }]);
    expect((await results(done, 2)).map(({ n }) => n).toSorted()).toEqual([1, 2]);
    await until(() => tasks.stats().deadLettered === 1, "the dead letter");
    expect(pool.restarts).toBe(3);
  });

  test("nacks what its agent throws on", async () => {
    const { pool, tasks, done } = await start({ threads: 1 });
    await pool.ready;
    await tasks.send({ n: 7, how: "throw once" });
    expect((await results(done, 1))[0]).toMatchObject({ n: 7, count: 2 });
    expect(pool.restarts).toBe(0);
  });

  test("close aborts the signal of agents that take longer than it waits, which is no failure", async () => {
    const { pool, tasks, done } = await start({ threads: 1 });
    await pool.ready;
    await tasks.send({ n: 0, how: "until aborted" });
    await until(() => tasks.stats().inFlight === 1, "the agent runs");
    await within(pool.close({ timeout: 50 }), "close");
    expect((await results(done, 1))[0]?.n).toBe(0);
    await until(() => tasks.stats().inFlight === 0 && tasks.stats().settling === 0, "the lease is back");
    expect(tasks.stats().deadLettered).toBe(0);
  });

  test("close lets running agents finish and gives the rest back", async () => {
    const { pool, tasks, done } = await start({ threads: 1, prefetch: 8 });
    await pool.ready;
    await tasks.sendBatch([{ n: 0, how: "long" }, { n: 1 }, { n: 2 }]);
    await until(() => tasks.stats().inFlight === 3, "the agent runs");
    await within(pool.close(), "close");
    expect((await results(done, 1))[0]?.n).toBe(0);
    await until(() => tasks.stats().inFlight === 0 && tasks.stats().settling === 0, "the leases are back");
    expect(tasks.peek().map(({ body }) => body.n)).toEqual([1, 2]);
  });

  test.each(["hang", "block"])("close ends within its deadline when an agent does %s", async (how) => {
    const { pool, tasks } = await start({ threads: 1 });
    await pool.ready;
    await tasks.send({ n: 0, how });
    await until(() => tasks.stats().inFlight === 1, "the agent runs");
    const from = performance.now();
    await within(pool.close({ timeout: 100 }), "close", 5000);
    expect(performance.now() - from).toBeGreaterThanOrEqual(99);
    await until(() => tasks.stats().ready === 1, "the message is back");
  });

  test("what an agent computes at the deadline of a close has not failed", async () => {
    const { pool, tasks } = await start({ threads: 2 }, agent, 1);
    await pool.ready;
    await tasks.sendBatch([
      { n: 0, how: "block" },
      { n: 1, how: "block" },
    ]);
    await until(() => tasks.stats().inFlight === 2, "the agents run");
    await within(pool.close({ timeout: 20 }), "close", 5000);
    await until(() => tasks.stats().inFlight === 0 && tasks.stats().settling === 0, "the leases are back");
    expect(tasks.stats()).toMatchObject({ ready: 2, deadLettered: 0 });
  });

  test("closes with its broker", async () => {
    const broker = await openBroker(level);
    const tasks = await broker.queue<Work>("tasks", level.queue);
    const pool = tasks.consumeInWorkers(agent, { threads: 2 });
    await within(broker.close(), "close", 20_000);
    await pool.close();
  });

  test("may be closed while its threads start", async () => {
    const { pool } = await start({ threads: 2 });
    const ready = pool.ready;
    await within(pool.close({ timeout: 1000 }), "close", 20_000);
    await ready.catch((error) => expect(error).toEqual(coded("CLOSED")));
  });

  test("replaces a thread whose agent closed its broker", async () => {
    const seen = new SharedArrayBuffer(4);
    const errors: Error[] = [];
    const agentThatCloses = new URL("./fixtures/closes-broker.mjs", import.meta.url);
    const options = { threads: 1, data: seen, onError: (error: Error) => errors.push(error) };
    const { pool, tasks } = await start(options, agentThatCloses);
    await tasks.sendBatch([{ n: 1 }, { n: 2 }]);
    await until(() => tasks.stats().acked === 2, "the other thread's work");
    expect(pool.restarts).toBe(1);
    expect(errors[0]).toEqual(coded("POOL_FAILED"));
  });
});

test("there is no pool on a closed broker", async () => {
  const broker = await openBroker(levels[0] as (typeof levels)[0]);
  const tasks = await broker.queue("tasks");
  await broker.close();
  expect(() => tasks.consumeInWorkers(agent)).toThrow(expect.objectContaining({ code: "CLOSED" }));
});
