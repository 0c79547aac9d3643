/** What `broker.queue(name, options)` takes: the type, and the table from which its checks and defaults follow. */
import type { CodecName } from "./codec.js";
import type { NativeQueuePatch } from "./engine/binding.js";
import { MILLISECONDS_MAX, type RowsOf, readTable } from "./options.js";

export interface QueueOptions {
  /** `"memory"`: never written to disk, gone with the process. Default: that of the broker. Fixed once the queue exists. */
  durability?: "memory" | "durable";
  /** Messages it holds, in any state, 1 to 2^48. Default 1,000,000. */
  capacity?: number;
  /** A full queue makes `send` wait (`"block"`, the default) or reject with `QUEUE_FULL` (`"reject"`). Not stored: each handle chooses. */
  overflow?: "block" | "reject";
  /** Milliseconds a lease lasts unless extended, from 1. Default 30 minutes. */
  visibilityTimeout?: number;
  /**
   * Failed deliveries after which a message becomes a dead letter, 0 (no limit) to 60,000. Default 5, 0 for `*.dead`.
   * Where the whole process dies, what its consumers had taken counts nothing for that. It is suspect from then on, and
   * suspects are handed out one at a time in the whole broker: the one that was out when the process died again has failed.
   */
  maxDeliveries?: number;
  /** Queue that dead letters go to, created when first needed. Default `<name>.dead`. */
  deadLetter?: string;
  /** How bodies become bytes: `"json"` (default), `"bytes"` (Uint8Array), `"text"`. Not stored: each handle chooses. */
  codec?: CodecName;
}

/** Where an option lives: with the queue in the log, fixed when the queue is created, or with each handle. */
export interface Kept {
  readonly kept: "stored" | "fixed" | "handle";
}

/** A row that is `stored` is the one of native/engine/settings.h, and README.md has all of them: a test compares. */
export const QUEUE_OPTIONS = {
  durability: {
    type: "choice",
    choices: ["memory", "durable"],
    default: { depends: "that of the broker" },
    kept: "fixed",
  },
  capacity: { type: "whole", min: 1, max: 2 ** 48, default: 1_000_000, kept: "stored" },
  overflow: { type: "choice", choices: ["block", "reject"], default: "block", kept: "handle" },
  visibilityTimeout: {
    type: "whole",
    min: 1,
    max: MILLISECONDS_MAX,
    default: 30 * 60_000,
    kept: "stored",
  },
  maxDeliveries: { type: "whole", min: 0, max: 60_000, default: 5, kept: "stored" },
  deadLetter: { type: "queue name", default: "<name>.dead", kept: "stored" },
  codec: { type: "choice", choices: ["json", "bytes", "text"], default: "json", kept: "handle" },
} as const satisfies RowsOf<QueueOptions, Kept>;

export function readQueueOptions(options: unknown): QueueOptions {
  return readTable<QueueOptions>(options, QUEUE_OPTIONS, "queue options");
}

/** What native code is to know of the named options; the queue has the rest. */
export function patchOf(named: QueueOptions): NativeQueuePatch {
  const patch: Record<string, unknown> = Object.create(null);
  if (named.durability !== undefined) patch.memory = named.durability === "memory";
  for (const [name, { kept }] of Object.entries(QUEUE_OPTIONS)) {
    if (kept === "stored") patch[name] = named[name as keyof QueueOptions];
  }
  return patch;
}
