// What is compared: the paths that most users run. `count` is messages a slice, about a tenth of a second on a quiet
// machine of two cores; `dir` says that the row needs a disk.
import { awaited, batches } from "../harness/flow.mjs";
import { handler, inWorkers, loop } from "../harness/takers.mjs";

const BATCH = 256;

export const rows = {
  "sync-batches": {
    title: "sync, 256 B, batches of 256, to a handler",
    durable: true,
    send: batches(BATCH, 8),
    take: handler(),
    shape: { bytes: 256 },
    count: 768 * BATCH,
  },
  "sync-awaited": {
    title: "sync, 256 B, 64 awaited in flight, to a worker",
    durable: true,
    send: awaited(64),
    take: inWorkers(),
    shape: { bytes: 256 },
    count: 40_000,
  },
  "memory-worker": {
    title: "memory, 64 B, batches of 256, to a worker",
    send: batches(BATCH, 8),
    take: inWorkers(),
    shape: { bytes: 64 },
    count: 1536 * BATCH,
  },
  "memory-loop": {
    title: "memory, 64 B, batches of 256, receive() loop with acks",
    send: batches(BATCH, 8),
    take: loop(),
    shape: { bytes: 64 },
    count: 768 * BATCH,
  },
};
