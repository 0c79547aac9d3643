/** Whatever is called with whatever: typed errors, no promise left open, nothing lost, and the process lives. */
import { expect, test } from "vitest";
import { temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";
import { seedOfRun } from "../support/random.mjs";

const program = new URL("./fixtures/any-calls.mjs", import.meta.url);
const calls = 4000 * Number(process.env.MILLRACE_TEST_SCALE ?? 1);

test.each(["memory", "sync"])(
  "calls drawn from a seed do no harm (%s)",
  async (level) => {
    const seed = seedOfRun();
    console.log(`seed ${seed} (MILLRACE_TEST_SEED)`);
    const args = [`${seed}`, `${calls}`, ...(level === "memory" ? [] : [temporaryDirectory()])];
    const { code, signal, stdout, stderr } = await runNode(program, { args, deadlineMs: 300_000 });
    expect({ code, signal }, stderr.slice(-2000)).toEqual({ code: 0, signal: null });
    expect(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")).toEqual([]);
  },
  300_000,
);
