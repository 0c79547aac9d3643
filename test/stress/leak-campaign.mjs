/**
 * Does what a process does for weeks in minutes, and checks that nothing of it stays: heap, external memory, resident
 * memory, descriptors, threads, mappings and the event loop's handles are after the third round what they were after
 * the first.
 *
 *   node test/stress/leak-campaign.mjs [--rounds N] [--seed N] [--only opens,consumers,…]
 *
 * `--rounds` is the size: 1,000 (the default) is 5,000 opens and closes, 50,000 consumers, 50,000 loops left in every
 * way, 2,000 attached threads and 5,000 handlers that throw, a third of them in each round. Every kind runs in a process
 * of its own and is one test. What it measured is printed, also where it is flat. (`--seed` changes nothing here.)
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { kinds } from "./fixtures/leaks.mjs";

const { values: given } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    seed: { type: "string", default: "0" },
    only: { type: "string", default: Object.keys(kinds).join() },
  },
});
const size = Number(given.rounds);

/**
 * What may be more after the third round than after the first: what the engine compiles and caches meanwhile, and
 * what an allocator keeps. Counts have no such excuse; a thread of the runtime's own pool may come late.
 */
const allowed = {
  heapKiB: 1024,
  externalKiB: 512,
  residentKiB: 8 * 1024,
  descriptors: 0,
  threads: 1,
  mappings: 64,
  handles: 0,
};

const columns = Object.keys(allowed);

/** @returns {Promise<{ states: Record<string, number>[], error?: string }>} a state after each round */
function inProcess(kind) {
  return new Promise((resolve) => {
    const agent = fileURLToPath(new URL("fixtures/leaks.mjs", import.meta.url));
    // Young objects in 1 MiB, and two arenas: else resident memory tells what V8 and the allocator have taken ahead.
    const env = { ...process.env, MALLOC_ARENA_MAX: "2" };
    const child = fork(agent, [kind, String(size)], {
      execArgv: ["--expose-gc", "--max-semi-space-size=1"],
      env,
    });
    let answer = { states: [], error: "the process ended without an answer" };
    child.on("message", (message) => {
      answer = message;
    });
    child.on("close", () => resolve(answer));
  });
}

let passed = 0;
let failed = 0;
for (const kind of given.only.split(",")) {
  const { states, error } = await inProcess(kind);
  const [first, , third] = states;
  const grown =
    error === undefined ? columns.filter((name) => third[name] - first[name] > allowed[name]) : [];
  const ok = error === undefined && grown.length === 0;
  if (ok) passed++;
  else failed++;
  const operations = kinds[kind] === undefined ? "" : ` ${Math.round(kinds[kind].thousands * size)}`;
  console.log(`${ok ? "ok  " : "FAIL"}${operations} ${kind}${error === undefined ? "" : `: ${error}`}`);
  for (const name of columns) {
    const line = states.map((state) => Math.round(state[name]).toLocaleString("en-US").padStart(10)).join("");
    const verdict = grown.includes(name) ? `  GREW (at most ${allowed[name]} allowed)` : "";
    console.log(`       ${name.padEnd(12)}${line}${verdict}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
