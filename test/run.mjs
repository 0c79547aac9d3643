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
// The seed is printed and replays a run. Each failure is named again in the summary, at the end, where a log that was
// cut still has it. The last line is "N passed, N failed".
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { build, runMain, SetupError } from "../setup.mjs";
import { lintCpp, lintFormat } from "./lint.mjs";
import { nativeTests } from "./support/native-tests.mjs";
import { minutes, root, run } from "./support/running.mjs";

const campaignRounds = 25;
/** In the summary, of each part. */
const failuresShown = 20;
// Ends what hangs. What a part takes on a slow day is several times less, and a day's sum is limited by .ci/run.
const partLimit = 20 * minutes;

const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: "native,unit,tsan,asan,campaigns" },
    filter: { type: "string", default: "" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e9)) },
    scale: { type: "string", default: "1" },
  },
});

/** What a part of the run found. @typedef {{ passed: number, failed: number, failures: string[] }} Count */

const parts = {
  format: { title: "Format and lint", run: () => lintFormat(run) },
  tidy: { title: "clang-tidy", run: () => lintCpp(run) },
  native: { title: "Native tests", run: () => native("") },
  unit: { title: "TypeScript tests and type tests", run: () => vitest([]) },
  types: { title: "Type tests", run: () => vitest(["--typecheck.only"]) },
  tsan: { title: "Native tests under ThreadSanitizer", run: () => native("thread") },
  asan: {
    title: "Native tests under Address- and UndefinedBehaviorSanitizer",
    run: () => native("address"),
  },
  campaigns: { title: "Campaigns, a short slice of each", run: campaigns },
};

async function native(sanitize) {
  const { command, environment } = await nativeTests(sanitize);
  const flags = ["--seed", options.seed, "--scale", options.scale];
  if (options.filter !== "") flags.push("--filter", options.filter);
  const limit = partLimit * Number(options.scale);
  const { ok, output } = await run([...command, ...flags], { environment, limit });
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
    limit: partLimit,
    inherit: true,
  });
  if (!existsSync(report)) return { passed: 0, failed: 1, failures: ["no report was written"] };
  const {
    numPassedTests: passed,
    numFailedTests: failed,
    testResults,
  } = JSON.parse(readFileSync(report, "utf8"));
  const failures = testResults
    .flatMap(({ name, assertionResults }) => assertionResults.map((test) => ({ file: name, ...test })))
    .filter(({ status }) => status === "failed")
    .map(({ file, fullName }) => `${relative(root, file)}: ${fullName}`);
  // Vitest can fail without a failed test: a file that does not load, a rejection nobody handled, a type error.
  if (!ok && failed === 0) failures.push("vitest failed without a failed test: see its output");
  return { passed, failed: ok ? failed : Math.max(1, failed), failures };
}

async function campaigns() {
  await build();
  const total = { passed: 0, failed: 0, failures: [] };
  for (const folder of ["test/crash", "test/stress"]) {
    if (!existsSync(join(root, folder))) continue;
    for (const name of readdirSync(join(root, folder)).sort()) {
      if (!name.endsWith("-campaign.mjs") || !name.includes(options.filter)) continue;
      const rounds = String(campaignRounds * Number(options.scale));
      console.log(`${folder}/${name} --rounds ${rounds} --seed ${options.seed}`);
      const command = [process.execPath, join(folder, name), "--rounds", rounds, "--seed", options.seed];
      const { ok, output } = await run(command, { limit: partLimit * Number(options.scale) });
      const count = closingLine(output, ok);
      total.passed += count.passed;
      total.failed += count.failed;
      total.failures.push(...count.failures.map((failure) => `${name}: ${failure}`));
    }
  }
  return total;
}

/** The counts a program closed with, and the lines that begin with "FAIL"; one that ended badly is one failure. */
function closingLine(output, ok) {
  const found = [...output.matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1);
  const failures = [...output.matchAll(/^FAIL(?:ED:)? +(.*)$/gm)].map((line) => line[1]);
  const count = found ? { passed: Number(found[1]), failed: Number(found[2]) } : { passed: 0, failed: 0 };
  if (!ok && count.failed === 0) {
    count.failed = 1;
    failures.push("ended badly: see its output");
  }
  return { ...count, failures };
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
    const { passed, failed, failures = [] } = await parts[name].run();
    rows.push({
      title: parts[name].title,
      passed,
      failed,
      failures,
      time: `${((Date.now() - from) / 1000).toFixed(1)} s`,
    });
  }
  const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
  console.log("\n=== Summary ===");
  for (const { title, passed, failed, failures, time } of rows) {
    console.log(`${failed === 0 ? "ok  " : "FAIL"} ${title}: ${passed} passed, ${failed} failed (${time})`);
    for (const failure of failures.slice(0, failuresShown)) console.log(`       ${failure}`);
  }
  // Nothing ran is not a success.
  process.exitCode = sum("failed") === 0 && sum("passed") > 0 ? 0 : 1;
  console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
}

await runMain(main);
