// What does the plain receive() loop cost beside a handler, in the sender's thread? Each message has a body of its own.
// The two take turns, each on a store of its own.
import { awaited, batches, flow } from "./harness/flow.mjs";
import { atLeast } from "./harness/report.mjs";
import { inTurns } from "./harness/statistics.mjs";
import { withQueue } from "./harness/store.mjs";
import { awaitingHandler, handler, loop, windowedLoop } from "./harness/takers.mjs";

export const title = "receive() loop: sent, delivered and acked in one thread, beside a handler";

const BATCH = 256;
const WINDOW = 64;
const shape = { bytes: 64, fresh: true };
const least = atLeast(0.8, "ratio");

/** `thousands` of messages a repetition, in memory and at level sync. */
const variants = [
  {
    name: "sendBatch of 256, loop that does not await its acks",
    send: batches(BATCH, 8),
    take: loop(),
    beside: { name: "handler", take: handler() },
    thousands: { memory: 1000, sync: 500 },
  },
  {
    name: "1,024 awaited sends, loop that does not await its acks",
    send: awaited(1024),
    take: loop(),
    beside: { name: "handler", take: handler() },
    thousands: { memory: 400, sync: 300 },
  },
  {
    name: `sendBatch of 256, loop with ${WINDOW} acks awaited later`,
    send: batches(BATCH, 8),
    take: windowedLoop({ window: WINDOW }),
    beside: {
      name: `handler that awaits its ack, concurrency ${WINDOW}`,
      take: awaitingHandler({ concurrency: WINDOW }),
    },
    thousands: { memory: 400, sync: 100 },
  },
];

export async function run({ quick, repetitions, dir }) {
  const rows = [];
  for (const level of ["memory", "sync"]) {
    for (const { name, send, take, beside, thousands } of variants) {
      const count = (thousands[level] * 1000 * (quick ? 0.2 : 1)) & -BATCH;
      const store = { dir: level === "memory" ? undefined : dir };
      const [ours, theirs] = await compare({ store, repetitions, send, count, takes: [take, beside.take] });
      rows.push({
        name: `${level}, 64 B, ${name}`,
        unit: "/s",
        ...ours,
        baseline: { name: beside.name, value: theirs.value },
        ratio: ours.value / theirs.value,
        floor: least,
      });
    }
  }
  return rows;
}

async function compare({ store, repetitions, send, count, takes: [ours, theirs] }) {
  let result;
  await withQueue(store, async (mine) => {
    await withQueue(store, async (other) => {
      const flows = [
        await flow(mine, { send, take: ours, count, shape }),
        await flow(other, { send, take: theirs, count, shape }),
      ];
      result = await inTurns(
        repetitions,
        flows.map(({ measure }) => measure),
      );
      for (const { stop } of flows) await stop();
      return 0;
    });
    return 0;
  });
  return result;
}
