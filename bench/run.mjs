// `npm run bench`: one file per question, each in a process of its own, one report.
//
//   node bench/run.mjs [--quick] [--full] [--only name,name] [--json FILE] [--dir DIRECTORY] [--repetitions N]
//
//   --quick   smaller runs, under two minutes in all
//   --full    the backlog of 10 million messages
//   --json    also writes machine, settings and every row there
//   --dir     where the stores lie (default: .millrace/ here); it decides which disk is measured
//
// Every run checks that each message arrived once and intact, and every durable one ends by opening the store again
// and counting. A question that fails a check prints the error, and the exit code is 1.
import { fork } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build, runMain, SetupError } from "../setup.mjs";
import { machine } from "./harness/machine.mjs";
import { preamble, table } from "./harness/report.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const questions = ["ring", "confirm", "throughput", "memory", "loop", "handoff", "calls", "backlog", "idle"];

const { values: given } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    full: { type: "boolean", default: false },
    only: { type: "string", default: questions.join() },
    json: { type: "string" },
    dir: { type: "string", default: join(here, "..", ".millrace") },
    repetitions: { type: "string", default: "5" },
  },
});

async function main() {
  const wanted = given.only.split(",");
  const unknown = wanted.filter((name) => !questions.includes(name));
  if (unknown.length > 0)
    throw new SetupError(`no question ${unknown.join()}; there are ${questions.join(", ")}`);
  const { nativeBench } = await build({ nativeBench: true });
  mkdirSync(given.dir, { recursive: true });
  const dir = mkdtempSync(join(realpathSync(given.dir), "bench-"));
  const settings = { quick: given.quick, full: given.full, repetitions: Number(given.repetitions) };
  const report = { machine: machine(dir), settings, questions: [] };
  console.log(`${preamble(report.machine, settings)}\n`);
  try {
    for (const name of wanted) report.questions.push(await ask(name, { ...settings, dir, nativeBench }));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(report, undefined, 2)}\n`);
  if (report.questions.some(({ error }) => error !== undefined)) process.exitCode = 1;
}

/** Runs a question and prints its answer. @returns { name, question, seconds, rows, error? } */
async function ask(name, options) {
  const file = join(here, `${name}.mjs`);
  const { title } = await import(file);
  console.log(title);
  const from = Date.now();
  const { rows = [], error } = await inChild(file, options);
  const seconds = (Date.now() - from) / 1000;
  if (rows.length > 0) console.log(table(rows));
  if (error !== undefined) console.log(`  FAILED: ${error}`);
  console.log(`  (${seconds.toFixed(1)} s)\n`);
  return { name, question: title, seconds, rows, ...(error !== undefined && { error }) };
}

function inChild(file, options) {
  return new Promise((resolve) => {
    const child = fork(join(here, "harness", "child.mjs"), { execArgv: ["--expose-gc"] });
    let answer = { error: "the process ended without an answer" };
    child.on("message", (message) => {
      answer = message;
    });
    child.on("exit", () => resolve(answer));
    child.send({ file, options });
  });
}

await runMain(main);
