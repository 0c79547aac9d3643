/**
 * Calls from a recursion that runs out of stack: wherever the RangeError strikes, that call fails as if it had never been
 * made, or succeeds; every promise settles, and what is called later works.
 */
import { expect, test } from "vitest";
import { temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";
import { seedOfRun } from "../support/random.mjs";

const program = new URL("./fixtures/overflow.mjs", import.meta.url);

test.each(["memory", "sync"])(
  "a caught stack overflow does no harm (%s)",
  async (level) => {
    const seed = seedOfRun();
    console.log(`seed ${seed} (MILLRACE_TEST_SEED)`);
    const args = level === "memory" ? [`${seed}`] : [`${seed}`, temporaryDirectory()];
    const { code, signal, stdout, stderr } = await runNode(program, { args, deadlineMs: 300_000 });
    expect({ code, signal }, stderr.slice(-2000)).toEqual({ code: 0, signal: null });
    expect(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")).toEqual([]);
  },
  300_000,
);
