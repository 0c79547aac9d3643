/** What waits for room in one queue, first come first served: single messages, and batches that go as a whole. */

/** The sender's side of one message. */
export interface Sending {
  /** The record was accepted under this seq. */
  accepted(seq: number): void;
  confirm(): void;
  fail(error: Error): void;
  /** True: wait in line while the queue is full, instead of failing with QUEUE_FULL. */
  readonly blocks: boolean;
  readonly queue: number;
}

export interface WaitingMessage {
  readonly record: Uint8Array;
  readonly sending: Sending;
}

export interface WaitingBatch {
  /** Bytes of its records. */
  readonly bytes: number;
  /** Tries to send it. `"full"`: its queue has no room; `"later"`: the log has none. Throws when it is refused. */
  attempt(): "sent" | "full" | "later";
  fail(error: Error): void;
}

type Waiting = WaitingMessage | WaitingBatch;

/** A promise, its functions and what else an entry costs beside its bytes: millions of small ones are bounded too. */
const ENTRY_BYTES = 512;
const COMPACTED_MIN = 1024;

const isBatch = (waiting: Waiting | undefined): waiting is WaitingBatch =>
  waiting !== undefined && "attempt" in waiting;

/** What a message or batch with so many bytes of records takes while it waits. */
export const waitingBytes = (recordBytes: number): number => ENTRY_BYTES + recordBytes;

const bytesOf = (waiting: Waiting): number =>
  waitingBytes(isBatch(waiting) ? waiting.bytes : waiting.record.length);

export class Line {
  readonly queue: number;
  /** Those before #first are gone, and nothing of them is kept. */
  #waiting: (Waiting | undefined)[] = [];
  #first = 0;
  #tried = 0;
  /** The queue was full when it was last asked, so a sender that does not wait is refused. */
  full = false;

  constructor(queue: number) {
    this.queue = queue;
  }

  get empty(): boolean {
    return this.#first === this.#waiting.length;
  }

  /** True while messages from its front are on their way for another try; they still count as waiting. */
  get trying(): boolean {
    return this.#tried > 0;
  }

  /** Returns the bytes it takes. */
  push(waiting: Waiting): number {
    this.#waiting.push(waiting);
    return bytesOf(waiting);
  }

  /** The batch that is next, if one is. */
  get batch(): WaitingBatch | undefined {
    const next = this.#waiting[this.#first];
    return isBatch(next) ? next : undefined;
  }

  /** Begins another try for up to `count` messages before the next batch. */
  try(count: number): WaitingMessage[] {
    const tried: WaitingMessage[] = [];
    for (let at = this.#first; tried.length < count; at++) {
      const waiting = this.#waiting[at];
      if (waiting === undefined || isBatch(waiting)) break;
      tried.push(waiting);
    }
    this.#tried = tried.length;
    return tried;
  }

  /** The first one, message or batch, waits no longer. Returns the bytes it took. */
  shift(): number {
    const gone = this.#waiting[this.#first] as Waiting;
    this.#waiting[this.#first++] = undefined;
    if (this.#tried > 0) this.#tried--;
    return bytesOf(gone);
  }

  /** A message that is being tried waits no longer: those before it may be refused and stay. Returns its bytes. */
  leave(sending: Sending): number {
    for (let at = this.#first; at < this.#first + this.#tried; at++) {
      const waiting = this.#waiting[at];
      if (waiting === undefined || isBatch(waiting) || waiting.sending !== sending) continue;
      if (at === this.#first) return this.shift();
      this.#waiting.splice(at, 1);
      this.#tried--;
      return bytesOf(waiting);
    }
    return 0;
  }

  /** The try is over: those that were not taken go on waiting, at the front. */
  endTry(): void {
    this.#tried = 0;
    if (this.#first < COMPACTED_MIN && !this.empty) return;
    if (this.#first * 2 < this.#waiting.length) return;
    this.#waiting.splice(0, this.#first);
    this.#first = 0;
  }

  fail(error: Error): void {
    for (const waiting of this.#waiting.slice(this.#first)) {
      if (isBatch(waiting)) waiting.fail(error);
      else waiting?.sending.fail(error);
    }
  }
}
