/** Stage two: counts what is in a piece and sends the result on. Runs in the threads of a pool. */
import type { Agent, Broker, Queue } from "millrace";
import { analyse } from "./analysis.js";
import type { Piece, PieceResult } from "./messages.js";

export interface CountData {
  /**
   * One shared 64-bit number: bytes that threads have begun to count. The thread that takes it over `killAtBytes` ends
   * itself, so exactly one dies, at the same place of every run.
   */
  readonly begun: SharedArrayBuffer;
  /** 0: nobody dies. */
  readonly killAtBytes: number;
}

/** Opened once in each thread. */
let output: Promise<Queue<PieceResult>> | undefined;

export const handler: Agent<Piece, Broker> = async ({ body }, { broker, data }) => {
  dieIfItIsTime(body.bytes, data as CountData);
  output ??= broker.queue<PieceResult>("results");
  const results = await output;
  const { file, piece, pieces } = body;
  const counts = analyse(body.text, body);
  await results.send({ file, piece, pieces, unreadable: false, counts });
};

/** Ends this thread in the middle of its work, with every lease it holds: what a crash looks like to the broker. */
function dieIfItIsTime(bytes: number, { begun, killAtBytes }: CountData): void {
  const before = Number(Atomics.add(new BigInt64Array(begun), 0, BigInt(bytes)));
  if (before < killAtBytes && before + bytes >= killAtBytes) process.exit(1);
}
