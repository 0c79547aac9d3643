/** Options of a queue are a patch: what is named replaces what is stored, whoever else names something else. */
import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { Broker, BrokerOptions, QueueOptions } from "millrace";
import { describe, expect, test } from "vitest";
import { Session } from "../../dist/engine/session.js";
import { QUEUE_OPTIONS } from "../../dist/queue-options.js";
import { coded, durableLevels, levels, open, openBroker, temporaryDirectory } from "../support/broker.js";
import { Random, seedOfRun } from "../support/random.mjs";
import { until } from "../support/waiting.mjs";

const seed = seedOfRun();
const fixture = (name: string): URL => new URL(`./fixtures/${name}`, import.meta.url);

/** What the engine has: the merged whole that a patch without names gets. */
function settingsOf(broker: Broker, name: string): Record<string, unknown> {
  const session = Session.attach(broker.handle);
  try {
    const { id: _, ...settings } = session.native.declare(name, {}, new Float64Array(1));
    return settings;
  } finally {
    void session.detach();
  }
}

/** Of a queue "q". */
const defaults: Readonly<Record<string, unknown>> = Object.fromEntries(
  Object.entries(QUEUE_OPTIONS)
    .filter(([, { kept }]) => kept === "stored")
    .map(([name, row]) => [name, row.default === "<name>.dead" ? "q.dead" : row.default]),
);

describe.each(levels)("the settings of a $level queue", (level) => {
  const memory = level.receipt === "memory";
  const times = level.receipt === "sync" ? 300 : 3000;

  test("are the defaults until something is named", async () => {
    const broker = await openBroker(level);
    await broker.queue("q", level.queue);
    expect(settingsOf(broker, "q")).toEqual({ ...defaults, memory });
    await broker.queue("q.dead", level.queue);
    expect(settingsOf(broker, "q.dead")).toEqual({
      ...defaults,
      maxDeliveries: 0,
      deadLetter: "",
      memory,
    });
  });

  test("take what is named, and undefined names nothing", async () => {
    const broker = await openBroker(level);
    await broker.queue("q", { ...level.queue, capacity: 7, maxDeliveries: 2 });
    const some = { capacity: undefined, deadLetter: "morgue", durability: undefined, codec: undefined };
    await broker.queue("q", some as unknown as QueueOptions);
    expect(settingsOf(broker, "q")).toEqual({
      ...defaults,
      capacity: 7,
      maxDeliveries: 2,
      deadLetter: "morgue",
      memory,
    });
  });

  test("go back to a default that is named", async () => {
    const broker = await openBroker(level);
    const others = { capacity: 7, maxDeliveries: 0, visibilityTimeout: 1, deadLetter: "morgue" };
    await broker.queue("q", { ...level.queue, ...others });
    for (const [name, value] of Object.entries(defaults)) await broker.queue("q", { [name]: value });
    expect(settingsOf(broker, "q")).toEqual({ ...defaults, memory });
  });

  test("that are refused change nothing, nor make a queue", async () => {
    const broker = await openBroker(level);
    await broker.queue("q", level.queue);
    const other = memory ? "durable" : "memory";
    const refused: [options: object, code: string][] = [
      [{ capacity: 7, maxDeliveries: 60_001 }, "OUT_OF_RANGE"],
      [{ capacity: 7, deadLetter: "q" }, "OUT_OF_RANGE"],
      [{ capacity: 7, durability: other }, "INVALID_ARGUMENT"],
      [{ capacity: 7, codec: "xml" }, "INVALID_ARGUMENT"],
      [{ capacity: 7, unknown: 1 }, "INVALID_ARGUMENT"],
    ];
    for (const [options, code] of refused) {
      await expect(broker.queue("q", options), JSON.stringify(options)).rejects.toEqual(coded(code));
      expect(settingsOf(broker, "q")).toEqual({ ...defaults, memory });
    }
    await expect(broker.queue("new", { capacity: 7, deadLetter: "new" })).rejects.toEqual(
      coded("OUT_OF_RANGE"),
    );
    expect(broker.stats().queues).toBe(1);
  });

  test(`that two threads and two handles name are all kept (seed ${seed})`, async () => {
    const broker = await openBroker(level);
    await broker.queue("q", level.queue);
    const worker = new Worker(fixture("declares.mjs"), {
      workerData: {
        entry: new URL("../../dist/index.js", import.meta.url).href,
        handle: broker.handle,
        name: "q",
        option: "visibilityTimeout",
        times,
        seed,
      },
    });
    let visibilityTimeout: number | undefined;
    const ended = once(worker, "message").then(([last]) => {
      visibilityTimeout = last as number;
    });
    ended.catch(() => {
      visibilityTimeout = Number.NaN;
    });
    const random = new Random(seed + 1);
    let capacity = 0;
    let maxDeliveries = 0;
    for (let i = 0; i < times || visibilityTimeout === undefined; i++) {
      capacity = random.integer(1, 50_000);
      maxDeliveries = random.integer(0, 50_000);
      await Promise.all([broker.queue("q", { capacity }), broker.queue("q", { maxDeliveries })]);
      if (i % 16 !== 0) continue;
      expect(settingsOf(broker, "q")).toMatchObject({ capacity, maxDeliveries });
      await turn();
    }
    await ended;
    expect(settingsOf(broker, "q")).toEqual({
      ...defaults,
      capacity,
      maxDeliveries,
      visibilityTimeout,
      memory,
    });
  });

  test("that agents of a pool name are merged with those of others", async () => {
    const broker = await openBroker(level);
    await broker.queue("q", { ...level.queue, visibilityTimeout: 77 });
    const patches = await broker.queue<object>("patches", level.queue);
    const pool = patches.consumeInWorkers(fixture("declaring-agent.mjs"), { threads: 2 });
    await patches.sendBatch([
      { name: "q", options: { capacity: 9 } },
      { name: "q", options: { maxDeliveries: 3 } },
    ]);
    await until(() => patches.stats().acked === 2, "both agents are done");
    await pool.close();
    expect(settingsOf(broker, "q")).toEqual({
      ...defaults,
      capacity: 9,
      maxDeliveries: 3,
      visibilityTimeout: 77,
      memory,
    });
  });
});

test.each(durableLevels)(
  "the merged whole of a $level queue is there after a restart",
  async ({ broker: base }) => {
    const dir = temporaryDirectory();
    const reopen = (): Promise<Broker> => open({ dir, ...base } satisfies BrokerOptions);
    const first = await reopen();
    await first.queue("q", { capacity: 7 });
    await first.queue("q", { maxDeliveries: 2 });
    await first.queue("q", { deadLetter: "morgue" });
    const merged = { ...defaults, capacity: 7, maxDeliveries: 2, deadLetter: "morgue", memory: false };
    await first.close();
    const second = await reopen();
    expect(settingsOf(second, "q")).toEqual(merged);
    await second.queue("q", { visibilityTimeout: 50 });
    await second.close();
    expect(settingsOf(await reopen(), "q")).toEqual({ ...merged, visibilityTimeout: 50 });
  },
);
