/**
 * Kills a process with SIGKILL at random moments under load, opens its store again and holds it to its promises.
 *
 *   node test/crash/kill-campaign.mjs [--rounds N] [--seed N] [--jobs N] [--keep]
 *
 * A round is one life of a child (fixtures/kill-child.mjs): it opens the store that the one before left, tells what it
 * finds, works from several threads and is killed. Each promise is written down by the child *after* it resolved, each
 * step that may change the store *before* it is taken (the journal, fixtures/kill-journal.mjs). The next life's findings
 * are compared with that by the model here:
 *   - every accepted message is there, with its seq and its bytes, unless a consumer may have settled it;
 *   - nothing that was settled is there; nothing is there that was not sent, or is there twice;
 *   - a batch is there whole or not at all;
 *   - what was handed out once is counted: its next delivery has a higher count;
 *   - first deliveries follow the order of the sends.
 * One store goes through many rounds, so that checkpoints, recycling and copying forward are cut too.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeDirectory, removeDirectory } from "../support/directory.mjs";
import { Random } from "../support/random.mjs";
import { Model } from "./fixtures/kill-model.mjs";

const { values: given } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    jobs: { type: "string", default: "2" },
    keep: { type: "boolean", default: false },
  },
});
const rounds = Number(given.rounds);
const seed = Number(given.seed) >>> 0;
const child = fileURLToPath(new URL("./fixtures/kill-child.mjs", import.meta.url));
const lifeMsMax = 30_000;

let begun = 0;
let failed = 0;
const totals = {
  lives: 0,
  opened: 0,
  killedWhileOpening: 0,
  torn: 0,
  accepted: 0,
  settled: 0,
  deliveries: 0,
  dead: 0,
};
const log = { commits: 0, checkpoints: 0, movedMessages: 0, segmentsMax: 0 };
const openMs = [];

/** One life: resolves when the child is dead, with what it wrote to its journal. */
function live(store, round, level, killAfterMs, lastLife) {
  const journal = join(store, "journal");
  writeFileSync(journal, "");
  const fd = openSync(journal, "a");
  return new Promise((resolve, reject) => {
    const process_ = spawn(
      process.execPath,
      [
        child,
        join(store, "data"),
        level,
        String(round),
        String((seed ^ (round * 2654435761)) >>> 0),
        lastLife ? "last" : "",
      ],
      { stdio: ["ignore", "pipe", "pipe", fd], env: { ...process.env, NODE_OPTIONS: "" } },
    );
    closeSync(fd);
    let output = "";
    let killed = false;
    const kill = () => {
      killed = true;
      process_.kill("SIGKILL");
    };
    // Before it is open, or after: the clock of the second kind starts when it works.
    let timer = killAfterMs.opening === undefined ? undefined : setTimeout(kill, killAfterMs.opening);
    let hung = false;
    const late = setTimeout(() => {
      hung = true;
      kill();
    }, lifeMsMax);
    const collect = (text) => {
      output += text;
      if (output.includes("working") && timer === undefined && !lastLife)
        timer = setTimeout(kill, killAfterMs.working);
    };
    process_.stdout.setEncoding("utf8").on("data", collect);
    process_.stderr.setEncoding("utf8").on("data", collect);
    process_.on("error", reject);
    process_.on("close", (code, signal) => {
      clearTimeout(timer);
      clearTimeout(late);
      const ended = hung
        ? `did not work after ${lifeMsMax} ms`
        : lastLife
          ? code === 0
            ? ""
            : `ended with ${code ?? signal}`
          : signal === "SIGKILL" && killed
            ? ""
            : `ended by itself with ${code ?? signal}`;
      resolve({ journal: readFileSync(journal, "utf8"), ended, output });
    });
  });
}

function note(journal) {
  for (const line of journal.split("\n")) {
    if (!line.startsWith("stats ")) continue;
    const stats = JSON.parse(line.slice(6));
    totals.opened++;
    if (stats.tornBytes > 0) totals.torn++;
    openMs.push(stats.openMs);
  }
  const last = journal.lastIndexOf("\nend ");
  const line = last < 0 ? "" : (journal.slice(last + 1).split("\n")[0] ?? "");
  try {
    const stats = JSON.parse(line.slice(4));
    log.commits += stats.commits;
    log.checkpoints += stats.checkpoints;
    log.movedMessages += stats.movedMessages;
    log.segmentsMax = Math.max(log.segmentsMax, stats.segments);
  } catch {
    // Killed before, or while, it wrote this.
  }
}

/** A store and its lives. */
async function storeOfMany(random, level) {
  const store = makeDirectory();
  const model = new Model();
  const lives = random.integer(20, 60);
  let keep = false;
  for (let life = 0; life <= lives && !keep; life++) {
    const lastLife = life === lives || begun >= rounds;
    const round = lastLife ? rounds + 1 : begun++;
    const opening =
      random.chance(0.2) && life > 0 && !lastLife ? { opening: random.integer(30, 140) } : undefined;
    const { journal, ended, output } = await live(
      store,
      round,
      level,
      opening ?? { working: random.integer(0, random.pick([10, 60, 200])) },
      lastLife,
    );
    if (!lastLife) totals.lives++;
    note(journal);
    if (!journal.includes("stats ")) totals.killedWhileOpening++;
    const wrong = model.take(journal);
    if (ended !== "") wrong.push(`the child ${ended}: ${output}`);
    if (wrong.length > 0) {
      failed++;
      console.error(`FAILED: round ${round}, life ${life} of a ${level} store, seed ${seed}`);
      for (const line of wrong.slice(0, 12)) console.error(`  ${line}`);
      keep = given.keep;
      if (keep) console.error(`  kept: ${store}`);
      break;
    }
    if (lastLife) break;
  }
  totals.accepted += model.totals.accepted;
  totals.settled += model.totals.settled;
  totals.deliveries += model.totals.deliveries;
  totals.dead += model.totals.dead;
  if (!keep) removeDirectory(store);
}

console.log(`kill campaign: ${rounds} rounds, seed ${seed}`);
const from = performance.now();
await Promise.all(
  Array.from({ length: Number(given.jobs) }, async (_, job) => {
    const random = new Random(seed + job * 7919);
    for (let n = job; begun < rounds && failed < 10; n++)
      await storeOfMany(random, n % 2 === 0 ? "sync" : "process");
  }),
);
const seconds = (performance.now() - from) / 1000;
openMs.sort((a, b) => a - b);
console.log(
  `${totals.lives} killed in ${seconds.toFixed(1)} s (${(totals.lives / seconds).toFixed(1)}/s), ` +
    `${totals.killedWhileOpening} of them before the store was open`,
);
console.log(
  `${totals.accepted} accepted, ${totals.deliveries} delivered, ${totals.settled} settled, ${totals.dead} dead letters; ` +
    `${log.commits} commits, ${log.checkpoints} checkpoints, ${log.movedMessages} messages copied forward, ` +
    `at most ${log.segmentsMax} segments, ${totals.torn} torn ends cut`,
);
console.log(
  `opening took p50 ${openMs[openMs.length >> 1]?.toFixed(1)} ms, max ${openMs.at(-1)?.toFixed(1)} ms`,
);
console.log(`${totals.lives - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
