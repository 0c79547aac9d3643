/** The four queues of the job and what travels in them. */
import type { Broker, Queue } from "millrace";
import type { Counts, FileKind } from "./analysis.js";
import type { JobState } from "./job-state.js";
import { LINE_BYTES_MAX } from "./reading.js";

/** A file to read and split. */
export interface FileTask {
  /** Index in the list of files. */
  readonly file: number;
  readonly path: string;
  readonly kind: FileKind;
  readonly bytes: number;
}

/** Some whole lines of a file. */
export interface Piece {
  readonly file: number;
  /** From 0 to `pieces` - 1. */
  readonly piece: number;
  readonly pieces: number;
  readonly kind: FileKind;
  /** Number of the first line, from 1. */
  readonly line: number;
  readonly bytes: number;
  readonly text: string;
}

/** What is in one piece. `file` and `piece` are its key: it may arrive more than once. */
export interface PieceResult {
  readonly file: number;
  readonly piece: number;
  readonly pieces: number;
  /** The file could not be read: this is all there will be of it. */
  readonly unreadable: boolean;
  readonly counts: Counts;
}

export interface JobQueues {
  readonly files: Queue<FileTask>;
  readonly pieces: Queue<Piece>;
  readonly results: Queue<PieceResult>;
  readonly summary: Queue<JobState>;
  /** Where messages go that no agent can handle: the job ends when it finds one. */
  readonly dead: Queue;
}

/** The store is written ahead of use: a small one starts sooner. An eighth of a segment is the most a message can be. */
export const SEGMENT_BYTES = 32 << 20;
/** The longest line as JSON at its worst, and the rest of its piece. */
export const MESSAGE_BYTES_MAX = LINE_BYTES_MAX * 6 + 4096;
/** Back-pressure: stage one waits when stage two is this far behind. */
const PIECES_WAITING_MAX = 1024;
/** Every kill of the process counts as a failed delivery of what was in work; a bad message still comes to an end. */
const AGENT_DELIVERIES_MAX = 100;

export async function openQueues(broker: Broker): Promise<JobQueues> {
  const agents = { maxDeliveries: AGENT_DELIVERIES_MAX, deadLetter: "dead" };
  // These two are read by the job itself, which cannot fail at one message and go on with the next.
  const own = { maxDeliveries: 0 };
  return {
    dead: await broker.queue("dead", own),
    files: await broker.queue<FileTask>("files", agents),
    pieces: await broker.queue<Piece>("pieces", { ...agents, capacity: PIECES_WAITING_MAX }),
    results: await broker.queue<PieceResult>("results", own),
    summary: await broker.queue<JobState>("summary", own),
  };
}
