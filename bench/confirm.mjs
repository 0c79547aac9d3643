// How long does one send wait until its message is on the disk, and how much of that is the disk?
// The engine and the bare device take turns in one directory, so both meet the same moments of the machine.
import { body, number } from "./harness/bodies.mjs";
import { RawDisk } from "./harness/raw-disk.mjs";
import { atMost } from "./harness/report.mjs";
import { median, percentiles } from "./harness/statistics.mjs";
import { withQueue } from "./harness/store.mjs";

export const title = "Confirmed: one awaited send of 256 B at a time, nothing else in flight";

const BODY_BYTES = 256;
const WARM_UP = 200;

export async function run({ quick, repetitions, dir, nativeBench }) {
  const raw = await RawDisk.start(nativeBench, dir);
  const rounds = Math.max(repetitions, 5) * 2;
  const count = quick ? 200 : 1000;
  const rows = [];
  try {
    for (const durability of ["sync", "process"]) {
      rows.push(await compare({ dir, durability, rounds, count, raw }));
    }
  } finally {
    raw.stop();
  }
  return rows;
}

async function compare({ dir, durability, rounds, count, raw }) {
  const sync = durability === "sync";
  const bare = [];
  const ours = [];
  await withQueue({ dir, durability }, async (queue) => {
    const message = body(BODY_BYTES);
    let sent = 0;
    const send = async () => {
      number(message, sent++);
      const from = performance.now();
      const { seq } = await queue.send(message);
      const us = (performance.now() - from) * 1000;
      if (Number(seq) !== sent) throw new Error(`message ${sent} got seq ${seq}`);
      return us;
    };
    for (let i = 0; i < WARM_UP; i++) await send();
    for (let round = 0; round < rounds; round++) {
      bare.push(await raw.commit({ count, sync }));
      const taken = [];
      for (let i = 0; i < count; i++) taken.push(await send());
      ours.push(taken);
    }
    return sent;
  });
  const ratios = ours.map((taken, i) => percentiles(taken).p50 / percentiles(bare[i]).p50);
  const { p50, p99 } = percentiles(ours.flat());
  const device = percentiles(bare.flat());
  return {
    name: sync ? "sync: 4 KiB commit and fdatasync" : "process: written to the kernel",
    value: p50,
    unit: "us",
    spread: spreadOf(ours.map((taken) => percentiles(taken).p50)),
    p50,
    p99,
    baseline: {
      name: `bare pwrite of 4 KiB${sync ? " + fdatasync" : ""} (p99 ${device.p99.toFixed(0)})`,
      value: device.p50,
    },
    ratio: median(ratios),
    ...(sync ? { floor: atMost(1.5, "ratio"), goal: atMost(1.25, "ratio") } : { goal: atMost(15, "p50") }),
  };
}

const spreadOf = (values) => [Math.min(...values), Math.max(...values)];
