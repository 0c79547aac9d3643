// `npm test`: everything that decides whether a change may land, in order, with one sum at the end.
//
//   node test/run.mjs [--only native,unit,tsan,asan,campaigns,format,tidy] [--filter TEXT] [--seed N] [--scale N]
//
//   native     the native tests, as users run the code
//   unit       the TypeScript tests, and the type tests (`types` for those alone)
//   tsan       the native tests under ThreadSanitizer
//   asan       the native tests under Address- and UndefinedBehaviorSanitizer
//   campaigns  a short, seeded slice of each campaign in test/crash and test/stress
//   format     biome on everything it knows, clang-format on the C++    (not by default: npm run lint)
//   tidy       clang-tidy on the C++                                    (not by default: npm run lint)
//
// The seed is printed and replays a run. The last line is "N passed, N failed".
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build, runMain, SetupError } from "../setup.mjs";
import { lintCpp, lintFormat } from "./lint.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const minutes = 60_000;
const campaignRounds = 25;

const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: "native,unit,tsan,asan,campaigns" },
    filter: { type: "string", default: "" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e9)) },
    scale: { type: "string", default: "1" },
  },
});

/** What a part of the run found. @typedef {{ passed: number, failed: number }} Count */

const parts = {
  format: { title: "Format and lint", run: () => lintFormat(run) },
  tidy: { title: "clang-tidy", run: () => lintCpp(run) },
  native: { title: "Native tests", run: () => nativeTests("", {}) },
  unit: { title: "TypeScript tests and type tests", run: () => vitest([]) },
  types: { title: "Type tests", run: () => vitest(["--typecheck.only"]) },
  tsan: {
    title: "Native tests under ThreadSanitizer",
    run: () => nativeTests("thread", { TSAN_OPTIONS: "halt_on_error=1 second_deadlock_stack=1" }),
  },
  asan: {
    title: "Native tests under Address- and UndefinedBehaviorSanitizer",
    run: () =>
      nativeTests("address", {
        ASAN_OPTIONS: "detect_leaks=1 detect_stack_use_after_return=1 strict_string_checks=1",
        UBSAN_OPTIONS: "print_stacktrace=1 halt_on_error=1",
      }),
  },
  campaigns: { title: "Campaigns, a short slice of each", run: campaigns },
};

async function nativeTests(sanitize, environment) {
  const { nativeTest } = await build({ nativeTests: true, sanitize });
  const flags = ["--seed", options.seed, "--scale", options.scale];
  if (options.filter !== "") flags.push("--filter", options.filter);
  let command = [nativeTest, ...flags];
  // ThreadSanitizer of GCC 12 refuses to start where the kernel randomises addresses by more than 28 bits.
  if (sanitize === "thread" && !(await run([nativeTest, "--list"], { quiet: true })).ok) {
    command = ["setarch", "-R", ...command];
  }
  const { ok, output } = await run(command, { environment, limit: 12 * minutes * Number(options.scale) });
  return closingLine(output, ok);
}

async function vitest(flags) {
  const report = join(root, "build", "vitest.json");
  mkdirSync(join(root, "build"), { recursive: true });
  rmSync(report, { force: true });
  const command = [process.execPath, join(root, "node_modules", "vitest", "vitest.mjs"), "run", ...flags];
  command.push("--reporter=default", "--reporter=json", `--outputFile.json=${report}`);
  if (options.filter !== "") command.push("--testNamePattern", options.filter);
  const { ok } = await run(command, {
    environment: { MILLRACE_TEST_SEED: options.seed, MILLRACE_TEST_SCALE: options.scale },
    limit: 10 * minutes,
    inherit: true,
  });
  if (!existsSync(report)) return { passed: 0, failed: 1 };
  const { numPassedTests: passed, numFailedTests: failed } = JSON.parse(readFileSync(report, "utf8"));
  // Vitest can fail without a failed test: a file that does not load, a rejection nobody handled, a type error.
  return { passed, failed: ok ? failed : Math.max(1, failed) };
}

async function campaigns() {
  await build();
  const total = { passed: 0, failed: 0 };
  for (const folder of ["test/crash", "test/stress"]) {
    if (!existsSync(join(root, folder))) continue;
    for (const name of readdirSync(join(root, folder)).sort()) {
      if (!name.endsWith("-campaign.mjs") || !name.includes(options.filter)) continue;
      const rounds = String(campaignRounds * Number(options.scale));
      console.log(`${folder}/${name} --rounds ${rounds} --seed ${options.seed}`);
      const command = [process.execPath, join(folder, name), "--rounds", rounds, "--seed", options.seed];
      const { ok, output } = await run(command, { limit: 5 * minutes * Number(options.scale) });
      const count = closingLine(output, ok);
      total.passed += count.passed;
      total.failed += count.failed;
    }
  }
  return total;
}

/** The counts a program closed with; a program that ended badly without counting a failure is one failure. */
function closingLine(output, ok) {
  const found = [...output.matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1);
  const count = found ? { passed: Number(found[1]), failed: Number(found[2]) } : { passed: 0, failed: 0 };
  if (!ok && count.failed === 0) count.failed = 1;
  return count;
}

// ---- running

// No colour codes in a file or a CI log.
const plain = process.stdout.isTTY ? {} : { NO_COLOR: "1", FORCE_COLOR: undefined };
const children = new Set();
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    for (const child of children) killGroup(child, signal);
    process.exit(130);
  });
}

// A group of its own: a part that runs into its limit is ended with everything it started.
function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

function run(command, { environment = {}, limit = 5 * minutes, quiet = false, inherit = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), {
      cwd: root,
      env: { ...process.env, ...plain, ...environment },
      stdio: ["ignore", inherit ? "inherit" : "pipe", inherit ? "inherit" : "pipe"],
      detached: true,
    });
    children.add(child);
    let output = "";
    const collect = (to) => (chunk) => {
      output += chunk;
      if (!quiet) to.write(chunk);
    };
    child.stdout?.on("data", collect(process.stdout));
    child.stderr?.on("data", collect(process.stderr));
    const timer = setTimeout(() => {
      console.error(`stopped: not finished after ${limit / minutes} minutes: ${command.join(" ")}`);
      killGroup(child, "SIGKILL");
    }, limit);
    const end = (code, text) => {
      clearTimeout(timer);
      children.delete(child);
      resolve({ ok: code === 0, code, output: output + text });
    };
    child.on("error", (error) => end(error.code, error.message));
    child.on("close", (code) => end(code, ""));
  });
}

async function main() {
  const names = options.only.split(",");
  const unknown = names.filter((name) => !(name in parts));
  if (unknown.length > 0)
    throw new SetupError(`--only knows ${Object.keys(parts).join(", ")}; not ${unknown}`);
  await build();
  console.log(`seed ${options.seed}, scale ${options.scale}`);
  const rows = [];
  for (const name of names) {
    const from = Date.now();
    console.log(`\n=== ${parts[name].title} ===`);
    const { passed, failed } = await parts[name].run();
    rows.push({
      title: parts[name].title,
      passed,
      failed,
      time: `${((Date.now() - from) / 1000).toFixed(1)} s`,
    });
  }
  const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
  console.log("\n=== Summary ===");
  for (const { title, passed, failed, time } of rows) {
    console.log(`${failed === 0 ? "ok  " : "FAIL"} ${title}: ${passed} passed, ${failed} failed (${time})`);
  }
  // Nothing ran is not a success.
  process.exitCode = sum("failed") === 0 && sum("passed") > 0 ? 0 : 1;
  console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
}

await runMain(main);
