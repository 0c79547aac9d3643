// How many messages a second are sent, committed, delivered to another thread and acked, all of it durable?
// The baseline is what the device takes in commits of 1 MiB, counted in bodies of that size.
import { awaited, batches, flow } from "./harness/flow.mjs";
import { RawDisk } from "./harness/raw-disk.mjs";
import { atLeast } from "./harness/report.mjs";
import { inTurns, median, percentiles } from "./harness/statistics.mjs";
import { withQueue } from "./harness/store.mjs";
import { handler, inWorkers } from "./harness/takers.mjs";

export const title = "Throughput: sent, committed, delivered and acked durable, one sending thread";

const BATCH = 256;
const BASELINE_BYTES = 1 << 20;

const small = { bytes: 256 };
const large = { bytes: 1024 };

/** `count` is thousands of messages a repetition. */
const variants = [
  {
    name: "sync, 256 B, 1,024 awaited sends in flight, consumer in a worker",
    send: awaited(1024),
    shape: small,
    thousands: 200,
    floor: atLeast(200_000),
    goal: atLeast(1_000_000),
  },
  {
    name: "sync, 256 B, 1,024 awaited, consumer in the sender's thread",
    send: awaited(1024),
    shape: small,
    thousands: 200,
    take: handler(),
  },
  {
    name: "sync, 256 B, 64 awaited, consumer in a worker",
    send: awaited(64),
    shape: small,
    thousands: 100,
    commits: 3,
    goal: atLeast(300_000),
  },
  {
    name: "sync, 256 B, sendBatch of 256, 8 in flight, consumer in a worker",
    send: batches(BATCH, 8),
    shape: small,
    thousands: 512,
    floor: atLeast(500_000),
    goal: atLeast(2_000_000),
  },
  {
    name: "sync, 256 B, sendBatch, consumer in the sender's thread",
    send: batches(BATCH, 8),
    shape: small,
    thousands: 512,
    take: handler(),
  },
  {
    name: "sync, 1 KiB, 1,024 awaited, consumer in a worker",
    send: awaited(1024),
    shape: large,
    thousands: 100,
  },
  {
    name: "sync, 1 KiB, sendBatch of 256, 8 in flight, consumer in a worker",
    send: batches(BATCH, 8),
    shape: large,
    thousands: 256,
    goal: atLeast(1_000_000),
  },
  {
    name: "process, 256 B, 1,024 awaited, consumer in a worker",
    durability: "process",
    send: awaited(1024),
    shape: small,
    thousands: 200,
  },
  {
    name: "process, 256 B, sendBatch of 256, 8 in flight, consumer in a worker",
    durability: "process",
    send: batches(BATCH, 8),
    shape: small,
    thousands: 512,
  },
];

export async function run({ quick, repetitions, dir, nativeBench }) {
  const raw = await RawDisk.start(nativeBench, dir);
  const device = { single: [], bytesPerSecond: [] };
  const look = async () => {
    device.single.push(percentiles(await raw.commit({ count: 200 })).p50);
    const us = median(await raw.commit({ count: 20, bytes: BASELINE_BYTES }));
    device.bytesPerSecond.push((BASELINE_BYTES / us) * 1e6);
  };
  const rows = [];
  try {
    for (const variant of variants) {
      await look();
      rows.push({ variant, row: await measure({ variant, quick, repetitions, dir }) });
    }
    await look();
  } finally {
    raw.stop();
  }
  const commitUs = median(device.single);
  const bytesPerSecond = median(device.bytesPerSecond);
  return rows.flatMap(({ variant, row }) => {
    const most = bytesPerSecond / variant.shape.bytes;
    const whole = {
      ...row,
      baseline: { name: "device, 1 MiB commits", value: most },
      ratio: row.value / most,
    };
    if (variant.commits === undefined) return [whole];
    return [whole, againstOneCommit(whole, commitUs, variant.commits)];
  });
}

async function measure({ variant, quick, repetitions, dir }) {
  const { name, durability, floor, goal, thousands, ...how } = variant;
  const count = (thousands * 1000 * (quick ? 0.4 : 2)) & -BATCH;
  let result;
  await withQueue({ dir, durability }, async (queue) => {
    const { measure, stop } = await flow(queue, { take: inWorkers(), ...how, count });
    [result] = await inTurns(repetitions, [measure]);
    await stop();
    return 0;
  });
  return { name, unit: "/s", ...result, ...(floor && { floor }), ...(goal && { goal }) };
}

/** The senders' p99 of that run as a row of its own, beside the device's single commit. */
function againstOneCommit(row, commitUs, most) {
  return {
    name: "  the same, how long a send waits: p99 against one bare commit",
    value: row.p99,
    unit: "us",
    baseline: { name: "bare 4 KiB commit", value: commitUs },
    ratio: row.p99 / commitUs,
    goal: { of: "ratio", most },
  };
}
