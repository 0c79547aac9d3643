/** Signals that we are given, of whatever make, and those that we hand to handlers. */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { runInNewContext } from "node:vm";
import { Broker, Ring } from "millrace";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { open } from "../support/broker.js";
import { until, within } from "../support/waiting.mjs";

interface Controller {
  signal: AbortSignal;
  abort(): void;
}

/** As a polyfill of before Node had one: an EventTarget of its own, with neither `reason` nor `throwIfAborted`. */
class OldSignal {
  aborted = false;
  readonly listeners = new Set<() => void>();
  addEventListener(_: "abort", listener: () => void): void {
    this.listeners.add(listener);
  }
  removeEventListener(_: "abort", listener: () => void): void {
    this.listeners.delete(listener);
  }
}

function oldController(): Controller & { old: OldSignal } {
  const old = new OldSignal();
  const abort = (): void => {
    old.aborted = true;
    for (const listener of [...old.listeners]) listener();
  };
  return { old, signal: old as unknown as AbortSignal, abort };
}

/** The same class, evaluated in a realm of its own. */
function controllerOfAnotherRealm(): Controller {
  return runInNewContext(`
    const listeners = new Set();
    const signal = {
      aborted: false,
      reason: undefined,
      addEventListener: (_, listener) => listeners.add(listener),
      removeEventListener: (_, listener) => listeners.delete(listener),
    };
    ({ signal, abort() {
      signal.aborted = true;
      signal.reason = new Error("of another realm");
      for (const listener of [...listeners]) listener();
    } })
  `) as Controller;
}

const makers: [string, () => Controller][] = [
  ["Node's own", () => new AbortController()],
  ["a polyfill's", oldController],
  ["another realm's", controllerOfAnotherRealm],
];

const warnings: Error[] = [];
const note = (warning: Error): void => void warnings.push(warning);
beforeEach(() => {
  warnings.length = 0;
  process.on("warning", note);
});
afterEach(() => process.off("warning", note));
/** Warnings are emitted in a later turn. */
const expectNoWarning = async (): Promise<void> => {
  await delay(0);
  await new Promise((resolve) => setImmediate(resolve));
  expect(warnings.map(String)).toEqual([]);
};

describe.each(makers)("%s signal", (_, make) => {
  test("is one that Node's own functions take", async () => {
    const controller = make();
    const waiting = delay(60_000, undefined, { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  });

  test("ends a loop, before it begins and while it waits", async () => {
    const broker = await open();
    const queue = await broker.queue("q");
    const controller = make();
    const next = queue.receive({ signal: controller.signal }).next();
    controller.abort();
    expect(await within(next, "the loop ends")).toMatchObject({ done: true });
    expect(await queue.receive({ signal: controller.signal }).next()).toMatchObject({ done: true });
  });

  test("ends a wait at a ring, with its reason if it has one", async () => {
    const ring = Ring.create({ slots: 2, slotBytes: 8 });
    const controller = make();
    const { signal } = controller;
    const pops: Promise<unknown>[] = [ring.pop({ signal }), ring.popBatch(3, { signal })];
    controller.abort();
    pops.push(ring.pop({ signal }));
    for (const pop of pops) {
      const reason = await within(pop, "the wait ends").catch((error: unknown) => error);
      if (signal.reason === undefined) expect(reason).toMatchObject({ name: "AbortError" });
      else expect(reason).toBe(signal.reason);
    }
    await ring.push(Uint8Array.of(1));
    expect(await ring.pop()).toEqual(Uint8Array.of(1));
  });

  test("that many share warns of no leak, and keeps nothing of those that are over", async () => {
    const broker = await open();
    const queue = await broker.queue("q");
    const controller = make();
    const { signal } = controller;
    const ring = Ring.create({ slots: 2, slotBytes: 8 });
    const loops = Array.from({ length: 40 }, () => queue.receive({ signal }));
    const pops = Array.from({ length: 40 }, () => ring.pop({ signal }).catch((error: unknown) => error));
    const over = loops.splice(0, 20);
    await Promise.all(over.map((loop) => loop.return()));
    const listening = (controller as { old?: OldSignal }).old?.listeners;
    if (listening !== undefined) expect(listening.size).toBe(1);
    const nexts = loops.map((loop) => loop.next());
    controller.abort();
    for (const next of nexts) expect(await within(next, "the loop ends")).toMatchObject({ done: true });
    await within(Promise.all(pops), "the waits end");
    if (listening !== undefined) {
      // Added once, and taken away by itself where the signal knows `once`.
      expect(listening.size).toBeLessThanOrEqual(1);
    }
    await expectNoWarning();
  });
});

test("a signal's listener goes with the last of those who share it", async () => {
  const broker = await open();
  const queue = await broker.queue("q");
  const { old, signal } = oldController();
  const loops = [1, 2, 3].map(() => queue.receive({ signal }));
  // A loop listens from its first turn on.
  expect(old.listeners.size).toBe(0);
  const turns = loops.map((loop) => loop.next());
  expect(old.listeners.size).toBe(1);
  for (const loop of loops) await loop.return();
  expect(old.listeners.size).toBe(0);
  for (const { done } of await Promise.all(turns)) expect(done).toBe(true);
  await queue.receive({ signal }).return();
  expect(old.listeners.size).toBe(0);
});

test("the signal that handlers share takes a listener of each without a warning", async () => {
  const broker = await open();
  const queue = await broker.queue<number>("q");
  await queue.sendBatch(Array.from({ length: 40 }, (_, i) => i));
  let running = 0;
  const consumer = queue.consume(
    async (_, { signal }) => {
      running++;
      await once(signal, "abort");
    },
    { concurrency: 40 },
  );
  await until(() => running === 40, "all handlers listen");
  await consumer.close({ timeout: 10 });
  await expectNoWarning();
});

test("a controller that the program put in place of Node's serves as well", async () => {
  const original = globalThis.AbortController;
  class Replaced {
    readonly #old = oldController();
    readonly signal = this.#old.signal;
    abort(): void {
      this.#old.abort();
    }
  }
  globalThis.AbortController = Replaced as unknown as typeof AbortController;
  try {
    const broker = await Broker.open();
    const queue = await broker.queue<number>("q");
    let handled = 0;
    queue.consume(() => void handled++);
    await queue.send(1);
    await until(() => handled === 1, "it is handled");
    await broker.close();
  } finally {
    globalThis.AbortController = original;
  }
});
