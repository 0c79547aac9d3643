/** Stage one: reads a file, splits it and sends the pieces on. Runs in the threads of a pool. */
import { join } from "node:path";
import type { Agent, Broker, Queue } from "millrace";
import { noCounts } from "./analysis.js";
import type { FileTask, Piece, PieceResult } from "./messages.js";
import { LINE_BYTES_MAX, readInput } from "./reading.js";
import { split } from "./splitter.js";

export interface SplitData {
  readonly root: string;
}

/** A batch becomes one commit, which must have room for it as JSON: a single piece with a long line is the largest. */
const BATCH_PIECES_MAX = 64;
const BATCH_BYTES_MAX = LINE_BYTES_MAX;

interface Outputs {
  readonly pieces: Queue<Piece>;
  readonly results: Queue<PieceResult>;
}

/** Opened once in each thread. */
let outputs: Promise<Outputs> | undefined;

async function openOutputs(broker: Broker): Promise<Outputs> {
  return {
    pieces: await broker.queue<Piece>("pieces"),
    results: await broker.queue<PieceResult>("results"),
  };
}

/**
 * The file's message is acked after the last piece is on the disk. Whoever dies before that sends pieces twice, never
 * too few; the tally drops what it has seen.
 */
export const handler: Agent<FileTask, Broker> = async ({ body: task }, { broker, data }) => {
  outputs ??= openOutputs(broker);
  const { pieces, results } = await outputs;
  const bytes = await readInput(join((data as SplitData).root, task.path));
  if (bytes === undefined) {
    await results.send({ file: task.file, piece: 0, pieces: 1, unreadable: true, counts: noCounts() });
    return;
  }
  for (const batch of batches(bytes, task)) await pieces.sendBatch(batch);
};

function* batches(bytes: Buffer, { file, kind }: FileTask): Generator<Piece[]> {
  const slices = split(bytes);
  let batch: Piece[] = [];
  let batchBytes = 0;
  for (const [piece, { start, end, line }] of slices.entries()) {
    if (batch.length === BATCH_PIECES_MAX || batchBytes + end - start > BATCH_BYTES_MAX) {
      yield batch;
      batch = [];
      batchBytes = 0;
    }
    const text = bytes.toString("utf8", start, end);
    batch.push({ file, piece, pieces: slices.length, kind, line, bytes: end - start, text });
    batchBytes += end - start;
  }
  yield batch;
}
