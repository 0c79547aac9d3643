/**
 * Terminates worker threads at random moments under load, and checks after each that its leases are back, and at the
 * end that nothing was lost, invented, delivered to two at once or delivered again after its ack.
 *
 *   node test/stress/terminate-campaign.mjs [--rounds N] [--seed N] [--level memory|process|sync]
 *
 * Every slot has a worker, and a queue of its own that shows when the leases of a dead worker are back; all of them
 * compete for one more queue and send to another. The witness is memory that all threads share (witness.mjs).
 */

import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { Broker } from "millrace";
import { makeDirectory, removeDirectory } from "../support/directory.mjs";
import { Random } from "../support/random.mjs";
import { until } from "../support/waiting.mjs";
import { makeWitness, Witness } from "./fixtures/witness.mjs";

const { values: given } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    level: { type: "string", default: "" },
  },
});
const rounds = Number(given.rounds);
const seed = Number(given.seed) >>> 0;
const slots = 3;
const leaseBackMsP99Max = 50;
const levels = given.level === "" ? ["memory", "process", "sync"] : [given.level];

const times = { fromEnd: [], fromCall: [] };
let failed = 0;

function complain(text) {
  failed++;
  console.error(`FAILED (seed ${seed}): ${text}`);
}

const quantile = (list, q) =>
  list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * q))] ?? 0;

/** Keeps about `target` messages waiting in a queue, each with a number of its own. */
class Feeder {
  #queue;
  #witness;
  #target;
  #sending = Promise.resolve();
  #stopped = false;

  constructor(queue, witness, target) {
    this.#queue = queue;
    this.#witness = witness;
    this.#target = target;
    this.#sending = this.#run();
  }

  async #run() {
    while (!this.#stopped) {
      const { ready } = this.#queue.stats();
      if (ready < this.#target / 2) {
        const numbers = Array.from({ length: this.#target - ready }, () => this.#witness.issue());
        if (numbers.includes(undefined)) return;
        await this.#queue.sendBatch(numbers);
        for (const number of numbers) this.#witness.accepted(number);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async stop() {
    this.#stopped = true;
    await this.#sending;
  }
}

async function campaign(level, levelRounds, random) {
  const directory = makeDirectory();
  const disk = { dir: directory, durability: level, segmentBytes: 1 << 20, checkpointBytes: 1 << 20 };
  const broker = await Broker.open(level === "memory" ? {} : disk);
  const shared = makeWitness(200_000 + levelRounds * 600, levelRounds + slots * 4);
  const witness = new Witness(shared);
  const options = { maxDeliveries: 0, capacity: 10_000 };
  const common = await broker.queue("common", options);
  const results = await broker.queue("results", { maxDeliveries: 0, capacity: 2 ** 40 });
  const own = [];
  for (let slot = 0; slot < slots; slot++) own.push(await broker.queue(`own-${slot}`, options));
  const feeders = [common, ...own].map((queue) => new Feeder(queue, witness, 200));

  let nextWorker = 1;
  const crashes = [];
  function start(slot) {
    const id = nextWorker++;
    const worker = new Worker(new URL("./fixtures/terminate-worker.mjs", import.meta.url), {
      workerData: { handle: broker.handle, slot, id, shared, seed: random.integer(0, 2 ** 31) },
    });
    worker.on("error", (error) => crashes.push(error));
    const working = new Promise((resolve) => worker.once("message", resolve));
    return { worker, id, working };
  }

  const running = own.map((_, slot) => start(slot));
  for (let round = 0; round < levelRounds; round++) {
    const slot = round % slots;
    const { worker, id, working } = running[slot];
    // Usually under load; now and then while it starts.
    if (random.chance(0.9)) await working;
    await new Promise((resolve) => setTimeout(resolve, random.integer(0, random.pick([3, 15, 60]))));
    witness.condemn(id);
    const called = performance.now();
    await worker.terminate();
    const ended = performance.now();
    const back = () => own[slot].stats().inFlight === 0;
    try {
      // The first look is before anything else runs.
      if (!back()) await until(back, "the leases of the dead worker are back", 5000);
      times.fromEnd.push(performance.now() - ended);
      times.fromCall.push(performance.now() - called);
    } catch (error) {
      complain(`${level}, round ${round}: ${error.message}: ${JSON.stringify(own[slot].stats())}`);
    }
    if (crashes.length > 0) {
      complain(`${level}, round ${round}: a worker failed by itself: ${crashes.splice(0)[0].stack}`);
    }
    running[slot] = start(slot);
  }

  for (const feeder of feeders) await feeder.stop();
  await Promise.all(
    running.map(({ worker, id }) => {
      witness.condemn(id);
      return worker.terminate();
    }),
  );
  await until(() => broker.stats().sessions === 1, "the dead threads are forgotten");
  await until(() => [common, ...own].every((queue) => queue.stats().inFlight === 0), "every lease is back");
  await drainAndCheck(level, [common, ...own], results, witness);
  await broker.close();
  removeDirectory(directory);
  return witness.workerSends();
}

/** Reads what is left and compares it with what the witness saw. */
async function drainAndCheck(level, queues, results, witness) {
  for (const queue of queues) {
    const seen = new Set();
    for (const body of await readAll(queue)) {
      if (seen.has(body)) complain(`${level}: message ${body} is in its queue twice`);
      seen.add(body);
      witness.left(body, (text) => complain(`${level}: ${text}`));
    }
  }
  witness.checkMessages((text) => complain(`${level}: ${text}`));
  const sends = new Set();
  for (const { id, n } of await readAll(results)) {
    const key = `${id}:${n}`;
    if (sends.has(key)) complain(`${level}: result ${key} arrived twice`);
    sends.add(key);
  }
  witness.checkResults(sends, (text) => complain(`${level}: ${text}`));
}

async function readAll(queue) {
  const bodies = [];
  const { ready, delayed } = queue.stats();
  for (const stream = queue.receive({ prefetch: 1000 }); bodies.length < ready + delayed; ) {
    const { value } = await stream.next();
    bodies.push(value.body);
    void value.ack();
    if (bodies.length === ready + delayed) await stream.return();
  }
  return bodies;
}

console.log(`terminate campaign: ${rounds} rounds, seed ${seed}`);
const from = performance.now();
const random = new Random(seed);
const spread = (index) => Math.floor(rounds / levels.length) + (index < rounds % levels.length ? 1 : 0);
for (const [index, level] of levels.entries()) {
  const before = failed;
  const sends = await campaign(level, spread(index), random);
  console.log(
    `${level}: ${spread(index)} terminated, ${sends} results sent by them${failed > before ? ", FAILED" : ""}`,
  );
}
const show = (list) => [0.5, 0.99, 1].map((q) => quantile(list, q).toFixed(2)).join(" / ");
console.log(`leases back after terminate() resolved: p50 / p99 / max ${show(times.fromEnd)} ms`);
console.log(`leases back after terminate() was called: p50 / p99 / max ${show(times.fromCall)} ms`);
if (quantile(times.fromEnd, 0.99) >= leaseBackMsP99Max) complain(`p99 is not under ${leaseBackMsP99Max} ms`);
console.log(`${((performance.now() - from) / 1000).toFixed(1)} s`);
console.log(`${Math.max(0, rounds - failed)} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
