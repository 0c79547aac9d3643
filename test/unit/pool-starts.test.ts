/** Threads of a pool that cannot start, for a moment or at all, and the modules they may be given. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { PoolOptions, WorkerPool } from "millrace";
import { describe, expect, onTestFinished, test } from "vitest";
import { coded, open, temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";
import { until, within } from "../support/waiting.mjs";

const agent = fileURLToPath(new URL("./fixtures/agent.mjs", import.meta.url));
const program = new URL("./fixtures/boots.mjs", import.meta.url);
const preload = fileURLToPath(new URL("./fixtures/bad-boots.cjs", import.meta.url));
const triesMax = 7;

interface Seen {
  readonly ready: string;
  readonly closed: string;
  readonly restarts: number;
  readonly ms: number;
  readonly boots: number;
  readonly told: readonly { readonly code: string; readonly message: string }[];
}

/** What a pool met in a process whose threads fail to boot at times. */
async function boots(name: string): Promise<Seen> {
  const env = { BOOTS: temporaryDirectory() };
  const { stdout, stderr } = await runNode(program, {
    args: [name, agent],
    node: ["--require", preload],
    env,
  });
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

async function start(module: URL | string, options: PoolOptions = {}): Promise<WorkerPool> {
  const broker = await open();
  const pool = (await broker.queue("tasks")).consumeInWorkers(module, { threads: 1, ...options });
  onTestFinished(() => pool.close({ timeout: 0 }));
  return pool;
}

describe("a thread that dies while it boots", () => {
  test("is replaced again and again, told each time, when it was itself a replacement", async () => {
    const { closed, restarts, boots: count, told } = await boots("replaced");
    expect(closed).toBe("open");
    // Two deaths by the message, three while booting.
    expect(restarts).toBe(5);
    expect(count).toBe(6);
    expect(told.map(({ code }) => code)).toEqual(Array.from({ length: 5 }, () => "POOL_FAILED"));
    expect(told[1]?.message).toContain("not now");
    expect(told[2]?.message).toContain("exited with code 7");
  });

  test("is replaced when it was the first", async () => {
    expect(await boots("first")).toMatchObject({ ready: "resolved", restarts: 2, boots: 3 });
  });

  test.each(["never", "vanished"])("ends the pool with POOL_FAILED if it is every one (%s)", async (name) => {
    const { ready, closed, boots: count, told } = await boots(name);
    expect([ready, closed]).toEqual(["POOL_FAILED", "POOL_FAILED"]);
    const threads = name === "never" ? 2 : 1;
    expect(count).toBeGreaterThanOrEqual(triesMax * threads);
    // Each end, and that of the pool.
    expect(told.length).toBe(count + 1);
  });

  test("does not end a pool in which another thread works, which is ready when it tried as often", async () => {
    expect(await boots("partly")).toMatchObject({
      ready: "resolved",
      failures: triesMax,
      restarts: 8,
      boots: 10,
    });
  });

  test("leaves nothing to wait for when the pool is closed meanwhile", async () => {
    const { ready, closed, boots: count } = await boots("closed");
    expect([ready, closed]).toEqual(["CLOSED", "resolved"]);
    expect(count).toBeLessThan(triesMax);
  });
});

test("a thread that the system refuses is a failed start, not an exception", async () => {
  const told: Error[] = [];
  // A stack that no machine has room for.
  const pool = await start(agent, {
    resourceLimits: { stackSizeMb: 2 ** 20 },
    onError: (error) => told.push(error),
  });
  await expect(within(pool.ready, "ready", 30_000)).rejects.toEqual(coded("POOL_FAILED"));
  await expect(within(pool.closed, "closed", 30_000)).rejects.toMatchObject({
    code: "POOL_FAILED",
    cause: { code: "ERR_WORKER_INIT_FAILED" },
  });
  expect(told.length).toBe(triesMax + 1);
});

test("an agent that cannot be loaded makes the pool fail, and loses nothing", async () => {
  const broker = await open();
  const tasks = await broker.queue("tasks");
  const errors: Error[] = [];
  const onError = (error: Error): unknown => errors.push(error);
  const pool = tasks.consumeInWorkers("/nowhere/agent.mjs", { threads: 2, onError });
  await tasks.send({ n: 1 });
  await expect(within(pool.closed, "the end", 30_000)).rejects.toEqual(coded("POOL_FAILED"));
  await expect(pool.ready).rejects.toThrow("/nowhere/agent.mjs");
  expect(errors.length).toBeGreaterThan(triesMax);
  await pool.close();
  expect(tasks.stats()).toMatchObject({ ready: 1, inFlight: 0 });
});

describe("an agent's module", () => {
  function written(name: string, text: string): string {
    const path = join(temporaryDirectory(), name);
    writeFileSync(path, text);
    return path;
  }

  test.each([
    ["default.mjs", "export default async () => {};"],
    ["handler.mjs", "export const handler = () => {};"],
    ["both.mjs", "export default { name: 'settings' }; export const handler = async () => {};"],
    ["object.mjs", "export default { handler() {} };"],
    ["function.cjs", "module.exports = async () => {};"],
    ["handler.cjs", "exports.handler = async () => {};"],
    // Not found by the lexer that names a CommonJS module's exports.
    ["computed.cjs", "Object.assign(exports, { ['han' + 'dler']: async () => {} });"],
    [
      "compiled.cjs",
      "Object.defineProperty(exports, '__esModule', { value: true }); exports.default = async () => {};",
    ],
    [
      "compiled-handler.cjs",
      "Object.defineProperty(exports, '__esModule', { value: true }); exports.default = {}; exports.handler = async () => {};",
    ],
  ])("may be %s", async (name, text) => {
    const broker = await open();
    const tasks = await broker.queue("tasks");
    const pool = tasks.consumeInWorkers(written(name, text), { threads: 1 });
    await within(pool.ready, "ready", 30_000);
    await tasks.send(1);
    await until(() => tasks.stats().acked === 1, "the message is handled");
  });

  test.each([
    ["nothing.mjs", "export {};", "it exports nothing"],
    [
      "other.mjs",
      "export const handle = () => {}; export default 5;",
      '"default" (number), "handle" (function)',
    ],
    ["other.cjs", "exports.handle = () => {};", '"default" (an object with handle)'],
    ["generator.mjs", "export default async function* () {}", "a generator function"],
  ])("is refused with what it does export: %s", async (name, text, said) => {
    const told: Error[] = [];
    const pool = await start(written(name, text), { onError: (error) => told.push(error) });
    await until(() => told.length > 0, "the first try", 30_000);
    expect(told[0]).toEqual(coded("POOL_FAILED"));
    expect(told[0]?.message).toContain(said);
    await pool.close({ timeout: 0 });
  });
});

describe("limits that no thread can start with", () => {
  test.each([
    ["stackSizeMb", 0.1],
    ["stackSizeMb", 0.49],
    ["stackSizeMb", 1e300],
    ["maxOldGenerationSizeMb", 2],
    ["maxOldGenerationSizeMb", 15],
    ["maxYoungGenerationSizeMb", 0.01],
    ["codeRangeSizeMb", 0.1],
    ["codeRangeSizeMb", 1e9],
    ["stackSizeMb", Number.NaN],
  ])("are OUT_OF_RANGE: %s %d", async (name, mb) => {
    const broker = await open();
    const tasks = await broker.queue("tasks");
    expect(() => tasks.consumeInWorkers(agent, { resourceLimits: { [name]: mb } })).toThrow(
      expect.objectContaining({ code: "OUT_OF_RANGE", name: "RangeError" }),
    );
  });

  test("are below those of which a thread can", async () => {
    const least = {
      stackSizeMb: 0.5,
      maxOldGenerationSizeMb: 16,
      maxYoungGenerationSizeMb: 1,
      codeRangeSizeMb: 8,
    };
    const pool = await start(agent, { resourceLimits: least });
    await within(pool.ready, "ready", 30_000);
  });
});
