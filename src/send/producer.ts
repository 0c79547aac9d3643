/** The sending side of a queue. */
import type { Codec } from "../codec.js";
import type { Sending } from "../engine/line.js";
import { refusal } from "../engine/outbox.js";
import { RecordBuffer } from "../engine/record-buffer.js";
import type { Session } from "../engine/session.js";
import { ensureStack } from "../engine/stack.js";
import { invalidArgument, MillraceError } from "../errors.js";
import { encodeHeaders, type Headers } from "../headers.js";
import { isArray, readOptions } from "../options.js";

export type Durability = "memory" | "process" | "sync";

export interface SendOptions {
  /** Text to text, at most 65,535 bytes together; counted with the body against `maxMessageBytes`. */
  headers?: Headers;
}

/** What an accepted message got. */
export class Receipt {
  readonly #seq: number;
  /** What the message has survived when `send` resolved: see the guarantees in the README. */
  readonly durability: Durability;

  /** @internal */
  constructor(seq: number, durability: Durability) {
    this.#seq = seq;
    this.durability = durability;
  }

  /** Number of the message in its queue, from 1. */
  get seq(): bigint {
    return BigInt(this.#seq);
  }
}

/** What an accepted batch got: its messages have the seqs from `firstSeq` on, without a gap. */
export interface BatchReceipt {
  readonly firstSeq: bigint;
  readonly count: number;
  readonly durability: Durability;
}

/** A batch that the engine took. Its confirmation is asked for at once: units are waited for in rising order. */
interface Staged {
  readonly firstSeq: number;
  readonly confirmed: Promise<void>;
}

/** How a queue sends; shared by its promises and its outbox. */
export interface Route {
  readonly session: Session;
  readonly queue: number;
  readonly codec: Codec;
  readonly durability: Durability;
  readonly blocks: boolean;
}

type Resolve = (receipt: Receipt) => void;
type Reject = (error: Error) => void;

class PendingSend implements Sending {
  readonly #route: Route;
  readonly #resolve: Resolve;
  readonly fail: Reject;
  #seq = 0;

  constructor(route: Route, resolve: Resolve, reject: Reject) {
    this.#route = route;
    this.#resolve = resolve;
    this.fail = reject;
  }

  get queue(): number {
    return this.#route.queue;
  }

  get blocks(): boolean {
    return this.#route.blocks;
  }

  accepted(seq: number): void {
    this.#seq = seq;
  }

  confirm(): void {
    this.#resolve(new Receipt(this.#seq, this.#route.durability));
  }
}

/** The functions of the promise that was made last: one executor for all, or each send would make a closure for it. */
let resolveNewest: Resolve | undefined;
let rejectNewest: Reject | undefined;
const keepFunctions = (resolve: Resolve, reject: Reject): void => {
  resolveNewest = resolve;
  rejectNewest = reject;
};

const SCRATCH_BYTES = 64 << 10;
const SCRATCH_KEPT_BYTES_MAX = 4 << 20;
const BATCH_MESSAGES_MAX = 1 << 20;

/** All queues of this thread write their batches here, one after the other; undefined while one does. */
let scratch: RecordBuffer | undefined;
/** What the engine answers to a batch, if that is no longer. */
const scratchResults = new Float64Array(257);

const resultsFor = (count: number): Float64Array =>
  count < scratchResults.length ? scratchResults : new Float64Array(count + 1);

/** Records of one queue. */
interface Batch {
  readonly records: Uint8Array;
  readonly bytes: number;
  readonly count: number;
}

export class Producer {
  readonly #route: Route;

  constructor(route: Route) {
    this.#route = route;
  }

  send(body: unknown, options: SendOptions | undefined): Promise<Receipt> {
    const route = this.#route;
    rejectNewest = undefined;
    const promise = new Promise<Receipt>(keepFunctions);
    // With too little stack to keep its functions it is rejected.
    if (resolveNewest === undefined || rejectNewest === undefined) return promise;
    const sending = new PendingSend(route, resolveNewest, rejectNewest);
    try {
      const headers = options === undefined ? undefined : readHeaders(options);
      route.session.outbox.add(headers, route.codec.encode(body), sending);
    } catch (error) {
      sending.fail(error as Error);
    }
    return promise;
  }

  /** False: there is no room now. */
  trySend(body: unknown, options: SendOptions | undefined): boolean {
    const { session } = this.#route;
    const headers = options === undefined ? undefined : readHeaders(options);
    if (session.ended !== undefined) throw session.ended;
    const { records, bytes } = this.#encode([body], 1, headers);
    ensureStack();
    session.outbox.flush();
    if (session.outbox.mustWait(this.#route.queue)) return false;
    const consumed = session.native.send(records, bytes, scratchResults, 1, false);
    if (consumed === 0) return false;
    const result = scratchResults[0] as number;
    if (result > 0) return true;
    const error = refusal(result);
    if (error instanceof MillraceError && error.code === "QUEUE_FULL") return false;
    throw error;
  }

  async sendBatch(bodies: readonly unknown[], options: SendOptions | undefined): Promise<BatchReceipt> {
    const { session, durability, queue } = this.#route;
    if (!isArray(bodies)) throw invalidArgument("bodies must be an array");
    // Asked once: a proxy may answer anything, and something else each time.
    const count = readElement(bodies, "length");
    if (!Number.isSafeInteger(count) || count < 0) throw invalidArgument("bodies must be an array");
    if (count > BATCH_MESSAGES_MAX) {
      throw new MillraceError("MESSAGE_TOO_LARGE", `a batch has at most ${BATCH_MESSAGES_MAX} messages`);
    }
    const headers = options === undefined ? undefined : readHeaders(options);
    if (session.ended !== undefined) throw session.ended;
    if (count === 0) return { firstSeq: 0n, count: 0, durability };
    const batch = this.#encode(bodies, count, headers);
    ensureStack();
    session.outbox.flush();
    const answer = session.outbox.mustWait(queue) ? "later" : this.#sendWhole(batch);
    const staged = typeof answer === "object" ? answer : await this.#waitInLine(batch, answer === "full");
    await staged.confirmed;
    return { firstSeq: BigInt(staged.firstSeq), count, durability };
  }

  #waitInLine({ records, bytes, count }: Batch, full: boolean): Promise<Staged> {
    const { session, queue, blocks } = this.#route;
    // Others use the scratch buffer while this batch waits for room, and what waits is counted by what it takes.
    const kept = { records: Uint8Array.prototype.slice.call(records, 0, bytes), bytes, count };
    return new Promise((resolve, fail) => {
      const attempt = () => {
        const answer = this.#sendWhole(kept);
        if (typeof answer !== "object") return answer;
        resolve(answer);
        return "sent";
      };
      session.outbox.addBatch(queue, { bytes, attempt, fail }, blocks, full);
    });
  }

  /** `"full"`: the queue has no room now; `"later"`: the log has none. */
  #sendWhole({ records, bytes, count }: Batch): Staged | "full" | "later" {
    const { session, blocks } = this.#route;
    const results = resultsFor(count);
    try {
      if (session.native.send(records, bytes, results, count, true) < count) return "later";
    } catch (error) {
      if (blocks && error instanceof MillraceError && error.code === "QUEUE_FULL") return "full";
      throw error;
    }
    return { firstSeq: results[0] as number, confirmed: session.committed(results[count] as number) };
  }

  /**
   * The first `count` bodies as records, in memory that the next batch of this thread uses again. Encoding runs code of
   * the user (toJSON), which may send from here itself.
   */
  #encode(bodies: readonly unknown[], count: number, headers: Uint8Array | undefined): Batch {
    const { session, codec, queue, durability } = this.#route;
    const { messageBytes, memoryBatchBytes } = session.limits;
    const batchBytes = durability === "memory" ? memoryBatchBytes : session.limits.batchBytes;
    const records = scratch ?? new RecordBuffer(SCRATCH_BYTES);
    scratch = undefined;
    records.used = 0;
    for (let i = 0; i < count; i++) {
      records.used = records.write(queue, headers, codec.encode(readElement(bodies, i)), messageBytes);
      if (records.used > batchBytes) {
        throw new MillraceError("MESSAGE_TOO_LARGE", `a batch has at most ${batchBytes} bytes`);
      }
    }
    const { buffer, used } = records;
    if (buffer.length <= SCRATCH_KEPT_BYTES_MAX) scratch = records;
    return { records: buffer, bytes: used, count };
  }
}

function readElement<K extends number | "length">(
  bodies: readonly unknown[],
  key: K,
): (readonly unknown[])[K] {
  try {
    return bodies[key];
  } catch (cause) {
    throw invalidArgument("bodies cannot be read", { cause });
  }
}

function readHeaders(options: SendOptions): Uint8Array | undefined {
  const given = readOptions(options, ["headers"], "send options");
  return given.headers === undefined ? undefined : encodeHeaders(given.headers);
}
