// `npm run test:repeat`: the native tests that have threads, again and again, to find the ones that fail now and then.
//
//   node test/repeat.mjs [--times N] [--busy] [--sanitize thread,address] [--folders engine,log] [--filter TEXT] [--seed N]
//
//   --times     runs of each test (20)
//   --busy      a second process keeps every core busy meanwhile
//   --sanitize  the builds: thread, address, none (thread,address)
//   --folders   folders of test/native (engine,log); `all` for every test there
//   --filter    only tests whose names contain it
//
// Run n of a test has the seed N + n, which is printed where it fails. The last line is "N passed, N failed".
import { fork } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runMain, SetupError } from "../setup.mjs";
import { nativeTests } from "./support/native-tests.mjs";
import { minutes, root, run } from "./support/running.mjs";

const { values: given } = parseArgs({
  options: {
    times: { type: "string", default: "20" },
    busy: { type: "boolean", default: false },
    sanitize: { type: "string", default: "thread,address" },
    folders: { type: "string", default: "engine,log" },
    filter: { type: "string", default: "" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e9)) },
  },
});
const builds = { none: "", thread: "thread", address: "address" };
const testLimit = 20 * minutes;

/** The names of the tests in the wanted folders. */
function wantedTests() {
  const folder = join(root, "test", "native");
  const folders = given.folders === "all" ? readdirSync(folder) : given.folders.split(",");
  return folders
    .flatMap((name) => readdirSync(join(folder, name)).map((file) => join(folder, name, file)))
    .filter((file) => file.endsWith(".cc"))
    .flatMap((file) => [...readFileSync(file, "utf8").matchAll(/^TEST\((\w+)\)/gm)].map(([, name]) => name))
    .filter((name) => name.includes(given.filter));
}

/** Every run of every test of one build. The order is by round, so that a disturbance meets different tests. */
async function repeat(build, names, count) {
  const { command, environment } = await nativeTests(builds[build]);
  const slowest = new Map();
  for (let round = 0; round < Number(given.times); round++) {
    const seed = String(Number(given.seed) + round);
    for (const name of names) {
      const from = performance.now();
      const test = [...command, "--one", name, "--seed", seed];
      const { ok, code, output, pid } = await run(test, { environment, limit: testLimit, quiet: true });
      rmSync(join(tmpdir(), `millrace-test-${pid}`), { recursive: true, force: true });
      slowest.set(name, Math.max(slowest.get(name) ?? 0, performance.now() - from));
      if (ok) count.passed++;
      else {
        count.failed++;
        console.log(`FAIL ${build} ${name} --seed ${seed} (ended with ${code})\n${output.trimEnd()}`);
      }
    }
    console.log(`${build}: round ${round + 1} of ${given.times}, ${count.failed} failed so far`);
  }
  const last = [...slowest].sort(([, a], [, b]) => b - a).slice(0, 5);
  for (const [name, ms] of last) console.log(`  at most ${(ms / 1000).toFixed(1)} s: ${name}`);
}

async function main() {
  const wanted = given.sanitize.split(",");
  const unknown = wanted.filter((name) => !(name in builds));
  if (unknown.length > 0) throw new SetupError(`--sanitize knows ${Object.keys(builds)}; not ${unknown}`);
  const names = wantedTests();
  console.log(`${names.length} tests, ${given.times} times, seed ${given.seed}${given.busy ? ", busy" : ""}`);
  const busy = given.busy
    ? fork(fileURLToPath(new URL("support/busy.mjs", import.meta.url)), { stdio: "ignore" })
    : undefined;
  const count = { passed: 0, failed: 0 };
  try {
    for (const build of wanted) await repeat(build, names, count);
  } finally {
    busy?.kill("SIGKILL");
  }
  console.log(`${count.passed} passed, ${count.failed} failed`);
  process.exitCode = count.failed === 0 && count.passed > 0 ? 0 : 1;
}

await runMain(main);
