/** What `Broker.open(options)` takes: the type, the table of its checks and defaults, and what depends on several. */
import { resolve } from "node:path";
import type { OpenSettings } from "./engine/session.js";
import { invalidArgument, outOfRange } from "./errors.js";
import { integer, type RowsOf, readTable } from "./options.js";

export interface BrokerOptions {
  /** Directory of the store, created if missing (mode 0700). Without it everything lives in memory. */
  dir?: string;
  /** When a send or an ack resolves: `"sync"` (default with a directory): after fdatasync; `"process"`: after write. */
  durability?: "sync" | "process";
  /** Bytes of one log segment: a power of two, 256 KiB to 1 GiB. Default 64 MiB. Fixed when the store is created. */
  segmentBytes?: number;
  /** Bytes of log between two checkpoints, at least. Default 4 segments. */
  checkpointBytes?: number;
  /** Headers and body of one message, at most: 1 to an eighth of a segment less 12 KiB (64 MiB in memory). Default 1 MiB or that. */
  maxMessageBytes?: number;
}

const MEMORY_MESSAGE_BYTES_MAX = 64 << 20;
/** Of an eighth of a segment: what the block, the record and its dead letter's story need besides headers and body. */
const RECORD_SPARE_BYTES = 12 << 10;

/** README.md has the same rows: a test compares. */
export const BROKER_OPTIONS = {
  dir: { type: "path", default: { depends: "none: memory" } },
  durability: { type: "choice", choices: ["sync", "process"], default: "sync" },
  segmentBytes: { type: "whole", min: 256 << 10, max: 2 ** 30, default: 64 << 20 },
  checkpointBytes: { type: "whole", min: 64 << 10, max: 2 ** 40, default: { depends: "4 segments" } },
  maxMessageBytes: {
    type: "whole",
    min: 1,
    max: MEMORY_MESSAGE_BYTES_MAX,
    default: { depends: "1 MiB or its limit" },
  },
} as const satisfies RowsOf<BrokerOptions>;

export function readBrokerOptions(options: unknown): OpenSettings {
  const named = readTable<BrokerOptions>(options, BROKER_OPTIONS, "broker options");
  for (const name of ["durability", "segmentBytes", "checkpointBytes"] as const) {
    if (named.dir === undefined && named[name] !== undefined) {
      throw invalidArgument(`${name} needs a directory`);
    }
  }
  const dir = named.dir === undefined ? "" : directory(named.dir);
  const { durability, segmentBytes = BROKER_OPTIONS.segmentBytes.default } = named;
  if ((segmentBytes & (segmentBytes - 1)) !== 0) throw outOfRange("segmentBytes must be a power of two");
  const largest = dir === "" ? MEMORY_MESSAGE_BYTES_MAX : segmentBytes / 8 - RECORD_SPARE_BYTES;
  return {
    dir,
    sync: (durability ?? BROKER_OPTIONS.durability.default) === "sync",
    segmentBytes,
    checkpointBytes: named.checkpointBytes ?? segmentBytes * 4,
    messageBytes: integer(named.maxMessageBytes ?? Math.min(1 << 20, largest), "maxMessageBytes", 1, largest),
  };
}

function directory(given: string): string {
  if (given === "" || given.includes("\0")) throw outOfRange("dir must be a path");
  return resolve(given);
}
