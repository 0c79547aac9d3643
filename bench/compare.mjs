// `npm run bench:compare -- REV`: is this tree as fast as commit REV? Answers that the noise of a machine cannot fool.
//
//   node bench/compare.mjs REV [--floor 0.95] [--pairs 17] [--only ROW,ROW] [--dir DIRECTORY]
//
//   --floor   the least ratio; 1 to REV's speed
//   --pairs   pairs a row, 11 or more
//   --only    rows of bench/compare/rows.mjs
//   --dir     where the stores lie (default: .millrace/ here)
//
// A is REV, built once below build/compare/; B is the tree as it stands. A pair is four fresh processes that live at the
// same time, A and B, and A twice more, so that it meets everything by which one process differs from the next. After two
// slices each to warm up they measure slices of about a tenth of a second in turns, A B B A and a A A a, then B A A B and
// A a a A: what disturbs the machine for longer than a slice meets all alike, and each process measures as often as its
// neighbour and as often in the middle, where it is warm. The ratio of a pair is the median of the ratios of
// neighbouring slices. Told are the median of the pairs' ratios with its 95 % interval, and beside it the same for A
// against A, which shows what this machine could tell apart at that moment.
//
// Exit code 1, naming the row, where the lower end of an interval is below the floor, or where a check failed. Every slice
// checks that each message arrived once and intact; every durable store is opened again and counted in the end.
// 17 pairs of the four rows take ten minutes on two quiet cores.
import { fork } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { build, runMain, SetupError } from "../setup.mjs";
import { buildRevision } from "./compare/revision.mjs";
import { rows } from "./compare/rows.mjs";
import { machine } from "./harness/machine.mjs";
import { figure, preamble } from "./harness/report.mjs";
import { median, medianWithInterval } from "./harness/statistics.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const PAIRS_MIN = 11;
const ANSWER_MS_MAX = 120_000;

const WARM_UP_SLICES = 2;
const ROUNDS = 2;
/** What the slice before left to do in the background is no part of this one. */
const PAUSE_MS = 150;

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    floor: { type: "string", default: "0.95" },
    pairs: { type: "string", default: "17" },
    only: { type: "string", default: Object.keys(rows).join() },
    dir: { type: "string", default: join(root, ".millrace") },
  },
});

async function main() {
  const wanted = given.only.split(",");
  const unknown = wanted.filter((name) => !(name in rows));
  if (unknown.length > 0)
    throw new SetupError(`no row ${unknown}; there are ${Object.keys(rows).join(", ")}`);
  const floor = Number(given.floor);
  const pairs = Number(given.pairs);
  if (!(floor > 0)) throw new SetupError("--floor is a number above 0");
  if (!(pairs >= PAIRS_MIN)) throw new SetupError(`--pairs is ${PAIRS_MIN} or more`);
  if (positionals.length !== 1) throw new SetupError("name one commit: npm run bench:compare -- REV");
  await build();
  const { commit, folder } = await buildRevision(positionals[0]);
  mkdirSync(given.dir, { recursive: true });
  const dir = mkdtempSync(join(realpathSync(given.dir), "compare-"));
  console.log(preamble(machine(dir), { pairs, floor, A: commit.slice(0, 12), B: "this tree" }));
  const from = Date.now();
  const below = [];
  try {
    for (const row of wanted) {
      console.log(`\n${row}: ${rows[row].title}`);
      if (!(await compare({ row, pairs, floor, dir, folder }))) below.push(row);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  console.log(`\n(${((Date.now() - from) / 1000).toFixed(0)} s)`);
  if (below.length > 0) console.log(`below ${floor}: ${below.join(", ")}`);
  else console.log(`every row is at ${floor} or above`);
  process.exitCode = below.length === 0 ? 0 : 1;
}

/** Measures one row and prints it. @returns whether it reached the floor */
async function compare({ row, pairs, floor, dir, folder }) {
  const ours = [];
  const same = [];
  for (let pair = 0; pair < pairs; pair++) {
    const measured = await measurePair({ row, dir, folder, sameFirst: pair % 2 === 1 });
    ours.push(measured.ours);
    same.push(measured.same);
  }
  const told = ratio(ours, (a, b) => b.rate / a.rate);
  const reached = told.low >= floor;
  const middle = (of) => figure(median(ours.flat().map(of)));
  console.log(`  A ${middle(([a]) => a.rate)}/s, B ${middle(([, b]) => b.rate)}/s`);
  console.log(`  B against A  ${interval(told)}  ${reached ? "ok" : `BELOW ${floor}`}`);
  console.log(`  A against A  ${interval(ratio(same, (a, b) => b.rate / a.rate))}`);
  const us = [middle(([a]) => a.cpuUs), middle(([, b]) => b.cpuUs)];
  const cpu = interval(ratio(ours, (a, b) => a.cpuUs / b.cpuUs));
  console.log(`  processor time a message: A ${us[0]} us, B ${us[1]} us, A / B  ${cpu}`);
  return reached;
}

/** The median of the pairs' ratios, each the median of its slices'. */
const ratio = (pairs, of) =>
  medianWithInterval(pairs.map((slices) => median(slices.map(([a, b]) => of(a, b)))));

const interval = ({ value, low, high }) => `${value.toFixed(3)}  [${low.toFixed(3)} .. ${high.toFixed(3)}]`;

/** @returns neighbouring slices in pairs: `ours` of A and B, `same` of the two A */
async function measurePair({ row, dir, folder, sameFirst }) {
  const sides = [];
  try {
    for (const from of [folder, root, folder, folder]) sides.push(new Side(from));
    await Promise.all(sides.map((side) => side.start({ row, dir })));
    const [a, b, ...twoOfA] = sides;
    for (let i = 0; i < WARM_UP_SLICES; i++) for (const side of sides) await side.slice();
    const ours = [];
    const same = [];
    const parts = [
      { sides: [a, b], into: ours },
      { sides: twoOfA, into: same },
    ];
    if (sameFirst) parts.reverse();
    for (let round = 0; round < ROUNDS; round++) {
      for (const { sides, into } of parts) into.push(...(await inTurns(sides, round % 2 === 1)));
    }
    await Promise.all(sides.map((side) => side.stop()));
    return { ours, same };
  } finally {
    for (const side of sides) side.kill();
  }
}

/** A B B A, or B A A B. @returns neighbours in pairs, of A and B */
async function inTurns([a, b], inside) {
  const measured = [];
  for (const side of inside ? [b, a, a, b] : [a, b, b, a]) measured.push({ side, slice: await side.slice() });
  const pairs = [measured.slice(0, 2), measured.slice(2)];
  return pairs.map((pair) => [a, b].map((side) => pair.find((one) => one.side === side).slice));
}

/** A process that measures slices with the build in `folder`. */
class Side {
  #folder;
  #child;
  #ended;

  constructor(folder) {
    this.#folder = folder;
    this.#child = fork(join(folder, "bench", "compare", "side.mjs"));
    this.#ended = new Promise((resolve) => this.#child.once("exit", resolve));
  }

  async start({ row, dir }) {
    const { ready } = await this.#ask({ row, dir });
    const build = pathToFileURL(join(realpathSync(this.#folder), "dist/")).href;
    if (!ready.startsWith(build)) throw new Error(`a side measures ${ready}, not what is in ${build}`);
  }

  /** @returns { rate, cpuUs }: messages a second, processor time a message */
  async slice() {
    await sleep(PAUSE_MS);
    return this.#ask("slice");
  }

  async stop() {
    await this.#ask("stop");
    await this.#ended;
  }

  kill() {
    this.#child.kill("SIGKILL");
  }

  #ask(word) {
    return new Promise((resolve, reject) => {
      const fail = (why) => () => reject(new Error(`a side of the comparison ${why} (${this.#folder})`));
      const onExit = fail("ended without an answer");
      const timer = setTimeout(fail(`did not answer for ${ANSWER_MS_MAX / 1000} s`), ANSWER_MS_MAX);
      this.#child.once("exit", onExit);
      this.#child.once("message", (answer) => {
        clearTimeout(timer);
        this.#child.off("exit", onExit);
        if (answer.error === undefined) resolve(answer);
        else reject(new Error(`${this.#folder}: ${answer.error}`));
      });
      this.#child.send(word);
    });
  }
}

await runMain(main);
