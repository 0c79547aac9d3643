// How fast do messages pass from one JavaScript thread to another, and how much of it is JavaScript?
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { Ring } from "millrace";
import { atLeast, atMost } from "./harness/report.mjs";
import { inTurns, percentiles } from "./harness/statistics.mjs";
import { Claims, write } from "./ring-messages.mjs";

export const title = "Ring: one thread to another";

const SLOTS = 4096;
const BATCH = 256;
const WARM_UP_MS = 300;
/** Both threads have gone to sleep before the next message. */
const PAUSE_MS = 2;

const execute = promisify(execFile);

async function withWorkers(datas, use) {
  const workers = datas.map(
    (workerData) => new Worker(new URL("./ring-worker.mjs", import.meta.url), { workerData }),
  );
  await Promise.all(workers.map(next));
  try {
    return await use(...workers);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

const next = (worker) =>
  new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("message", (message) => {
      worker.off("error", reject);
      resolve(message);
    });
  });

const perSecond = (count, from) => ({ value: (count / (performance.now() - from)) * 1000 });

/** Messages a second, from the first send to the receiver's verdict, which must be good. */
function rate({ how, size, count, buffer }, send) {
  return withWorkers([{ how, size, count, buffer }], async (worker) => {
    const verdict = next(worker);
    const from = performance.now();
    if (buffer) worker.postMessage("go");
    send(worker);
    const { ok, ...what } = await verdict;
    if (!ok) throw new Error(`messages were lost or damaged: ${JSON.stringify(what)}`);
    return perSecond(count, from);
  });
}

function oneCallEach(size, count) {
  const ring = Ring.create({ slots: SLOTS, slotBytes: size });
  return rate({ how: "one", size, count, buffer: ring.buffer }, () => {
    const message = new Uint8Array(new ArrayBuffer(size));
    const words = new Uint32Array(message.buffer);
    for (let i = 0; i < count; i++) {
      write(words, 0, size, i);
      while (!ring.tryPush(message));
    }
  });
}

function packedBatches(size, count) {
  const ring = Ring.create({ slots: SLOTS, slotBytes: size });
  return rate({ how: "packed", size, count, buffer: ring.buffer }, () => {
    const packed = new Uint8Array(size * BATCH);
    const words = new Uint32Array(packed.buffer);
    const lengths = new Uint32Array(BATCH).fill(size);
    for (let sent = 0; sent < count; sent += BATCH) {
      for (let i = 0; i < BATCH; i++) write(words, i * size, size, sent + i);
      let accepted = ring.tryPushBatch(packed, lengths);
      while (accepted < BATCH) {
        accepted += ring.tryPushBatch(packed.subarray(accepted * size), lengths.subarray(accepted));
      }
    }
  });
}

function listBatches(size, count) {
  const ring = Ring.create({ slots: SLOTS, slotBytes: size });
  return rate({ how: "list", size, count, buffer: ring.buffer }, () => {
    const list = Array.from({ length: BATCH }, () => new Uint8Array(new ArrayBuffer(size)));
    const words = list.map((message) => new Uint32Array(message.buffer));
    for (let sent = 0; sent < count; sent += BATCH) {
      for (let i = 0; i < BATCH; i++) write(words[i], 0, size, sent + i);
      let accepted = ring.tryPushBatch(list);
      while (accepted < BATCH) accepted += ring.tryPushBatch(list.slice(accepted));
    }
  });
}

/** Producers and consumers in threads of their own, batches of 256; every message must come to exactly one of them. */
function severalThreads(size, count, producers, consumers) {
  const ring = Ring.create({ slots: SLOTS, slotBytes: size });
  const claims = Claims.create(count);
  const share = count / producers;
  const common = { size, count, buffer: ring.buffer, claims: claims.buffer };
  const roles = [
    ...Array.from({ length: consumers }, () => ({ ...common, how: "claim" })),
    ...Array.from({ length: producers }, (_, i) => ({
      ...common,
      how: "produce",
      from: i * share,
      to: (i + 1) * share,
    })),
  ];
  return withWorkers(roles, async (...workers) => {
    const finished = Promise.all(workers.map(next));
    const from = performance.now();
    for (const worker of workers) worker.postMessage("go");
    await finished;
    const result = perSecond(count, from);
    claims.verify(count);
    return result;
  });
}

const postMessages = (size, count) =>
  rate({ how: "postMessage", size, count }, (worker) => {
    const message = new Uint8Array(size);
    const words = new Uint32Array(message.buffer);
    for (let i = 0; i < count; i++) {
      write(words, 0, size, i);
      worker.postMessage(message);
    }
  });

const transfers = (size, count) =>
  rate({ how: "transfer", size, count }, (worker) => {
    for (let sent = 0; sent < count; sent += BATCH) {
      const packed = new Uint8Array(size * BATCH);
      const words = new Uint32Array(packed.buffer);
      for (let i = 0; i < BATCH; i++) write(words, i * size, size, sent + i);
      worker.postMessage(packed, [packed.buffer]);
    }
  });

/** Microseconds until the promise of `ask` resolves. */
async function timed(ask) {
  const from = performance.now();
  await ask();
  return (performance.now() - from) * 1000;
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

/** By ring: one there, one back, and a thread that answers. */
function ringTrip(there, back) {
  const message = new Uint8Array(64);
  let sent = 0;
  return async () => {
    message[0] = ++sent;
    await there.push(message);
    const answer = await back.pop();
    if (answer[0] !== (sent & 255)) throw new Error("another answer than sent");
  };
}

function postTrip(worker) {
  const message = new Uint8Array(64);
  return () => {
    const answer = next(worker);
    worker.postMessage(message);
    return answer;
  };
}

/** Nothing but Atomics: a word is raised and notified, another is awaited with waitAsync. */
function bareTrip(words) {
  return async () => {
    const before = Atomics.load(words, 1);
    Atomics.add(words, 0, 1);
    Atomics.notify(words, 0);
    const hold = setTimeout(() => {}, 1000); // waitAsync does not keep the loop alive
    await Atomics.waitAsync(words, 1, before).value;
    clearTimeout(hold);
  };
}

/**
 * The same trips back to back and with a pause before each, all kinds in turns. Back to back is measured once it is
 * that: for some tenths of a second the scheduler may leave two threads that just started on one core.
 * @returns for each kind { active, parked }, each { value, p50, p99 }
 */
async function inSlices(repetitions, counts, kinds) {
  const taken = kinds.map(() => ({ active: [], parked: [] }));
  for (let turn = 0; turn < repetitions; turn++) {
    for (const [i, ask] of kinds.entries()) {
      const warm = performance.now() + WARM_UP_MS;
      while (performance.now() < warm) await ask();
      for (let n = 0; n < counts.active; n++) taken[i].active.push(await timed(ask));
      for (let n = 0; n < counts.parked; n++) {
        await pause();
        taken[i].parked.push(await timed(ask));
      }
    }
  }
  const summary = (samples) => ({ value: percentiles(samples).p50, ...percentiles(samples) });
  return taken.map(({ active, parked }) => ({ active: summary(active), parked: summary(parked) }));
}

/** [ring, postMessage, Atomics alone] */
function roundTrips(repetitions, counts) {
  const there = Ring.create({ slots: 64, slotBytes: 64 });
  const back = Ring.create({ slots: 64, slotBytes: 64 });
  const words = new Int32Array(new SharedArrayBuffer(8));
  const threads = [
    { how: "echo", size: 64, buffer: there.buffer, back: back.buffer },
    { how: "mirror", size: 64 },
    { how: "bare", size: 64, words },
  ];
  return withWorkers(threads, (_, mirror) =>
    inSlices(repetitions, counts, [ringTrip(there, back), postTrip(mirror), bareTrip(words)]),
  );
}

export async function run({ quick = false, repetitions = 5, nativeBench }) {
  const count = (quick ? 8 : 32) * 512 * BATCH;
  const native = async (size, batch) => {
    const { stdout } = await execute(nativeBench, ["ring", String(count), String(size), String(batch)]);
    return { value: Number(stdout) };
  };
  const rows = [];
  /** Rows for the first measure: one without a baseline if nothing else was measured, else one for each other. */
  const compare = async (name, bars, measure, ...others) => {
    const results = await inTurns(repetitions, [measure, ...others.map((other) => other.measure)]);
    const [ours, ...theirs] = results;
    const row = { name, unit: "/s", ...ours, ...bars };
    if (others.length === 0) rows.push(row);
    for (const [i, { name: other, goal }] of others.entries()) {
      const value = theirs[i].value;
      const base = i === 0 ? row : { name, unit: "/s", ...ours };
      rows.push({
        ...base,
        baseline: { name: other, value },
        ratio: ours.value / value,
        ...(goal && { goal: atLeast(goal, "ratio") }),
      });
    }
  };

  await compare(
    "64 B, one call each",
    { floor: atLeast(5_000_000) },
    () => oneCallEach(64, count),
    { name: "postMessage", goal: 15, measure: () => postMessages(64, count / 16) },
    { name: "native threads", goal: 0.25, measure: () => native(64, 1) },
  );
  await compare(
    "64 B, packed batches of 256",
    { floor: atLeast(12_000_000) },
    () => packedBatches(64, count * 2),
    { name: "256 in a transferred buffer", goal: 1.7, measure: () => transfers(64, count * 2) },
    { name: "native threads", goal: 0.5, measure: () => native(64, BATCH) },
  );
  await compare(
    "1 KiB, packed batches of 256",
    {},
    () => packedBatches(1024, count / 4),
    { name: "postMessage", goal: 10, measure: () => postMessages(1024, count / 32) },
    { name: "native threads", goal: 0.5, measure: () => native(1024, BATCH) },
  );
  await compare("64 B, batches of 256 arrays", {}, () => listBatches(64, count));
  await compare("64 B, batches of 256, 2 producers and 2 consumers", {}, () =>
    severalThreads(64, count, 2, 2),
  );

  const counts = { active: quick ? 1000 : 10_000, parked: quick ? 40 : 200 };
  const [ring, post, bare] = await roundTrips(repetitions, counts);
  const trip = (name, ours, other, theirs, bars) =>
    rows.push({
      name,
      unit: "us",
      ...ours,
      baseline: { name: other, value: theirs.p50 },
      ratio: ours.p50 / theirs.p50,
      ...bars,
    });
  trip("round trip, back to back", ring.active, "postMessage", post.active, {
    floor: atMost(5, "p50"),
    goal: atMost(2, "p50"),
  });
  trip(`round trip, ${PAUSE_MS} ms idle before`, ring.parked, "bare Atomics.waitAsync", bare.parked, {
    goal: atMost(1.3, "ratio"),
  });
  return rows;
}
