/**
 * Messages on their way into the engine. Sends of one turn are written one behind the other, as message records, and
 * cross into native code together; what the engine has no room for stays here, in order, until there is some.
 */
import { type ErrorCode, errorOf, MillraceError } from "../errors.js";
import { Allowance } from "./allowance.js";
import { binding, type NativeLimits, type NativeSession } from "./binding.js";
import type { Confirmation } from "./confirmation.js";
import { Line, type Sending, type WaitingBatch, waitingBytes } from "./line.js";
import { soon } from "./loop.js";
import { RecordBuffer } from "./record-buffer.js";
import { ensureStack } from "./stack.js";

/** What an outbox needs of the session whose it is. */
export interface OutboxSession {
  readonly native: Pick<NativeSession, "send">;
  readonly limits: NativeLimits;
  readonly ended: Error | undefined;
  wait(confirmation: Confirmation): void;
  room(): Promise<void>;
}

const OUTBOX_BYTES = 256 << 10;
/** A buffer that a burst made larger than this is given back. */
const OUTBOX_KEPT_BYTES_MAX = 4 << 20;
/** Of one crossing; what is answered to more of them is not kept. */
const RESULTS_KEPT = 1024;
/** Messages that wait for one full queue and are tried again at once; doubled while all of them find room. */
const RETRIED_AT_ONCE_MIN = 16;

const { codes } = binding;
const QUEUE_FULL = codes.indexOf("QUEUE_FULL");

/** The confirmation of the messages of one crossing. */
class Group implements Confirmation {
  readonly members: readonly Sending[];
  readonly unit: number;

  constructor(members: readonly Sending[], unit: number) {
    this.members = members;
    this.unit = unit;
  }

  get promises(): number {
    return this.members.length;
  }

  confirm(): void {
    for (const member of this.members) member.confirm();
  }

  fail(error: Error): void {
    for (const member of this.members) member.fail(error);
  }
}

/** The common case: every record was taken, and each got a seq. */
function allAccepted(results: Float64Array, consumed: number, count: number): boolean {
  if (consumed < count) return false;
  for (let i = 0; i < count; i++) if ((results[i] as number) <= 0) return false;
  return true;
}

export function refusal(result: number): Error {
  const code = (codes[-result] ?? "STORE_FAILED") as ErrorCode;
  const reasons: Partial<Record<ErrorCode, string>> = {
    QUEUE_FULL: "the queue is full",
    DISK_FULL: "there is no space for new messages",
    CLOSED: "the broker is closed",
    STORE_FAILED: "the store refuses writes",
    LIMIT_REACHED: "the process has no memory or file descriptors left, or the store has its most segments",
  };
  return errorOf(code, reasons[code] ?? code);
}

const tooMuchWaits = (): MillraceError =>
  new MillraceError(
    "QUEUE_FULL",
    "too many bytes wait for room in this queue, or in all queues of this thread",
  );

export class Outbox {
  readonly #session: OutboxSession;
  readonly #records = new RecordBuffer(OUTBOX_BYTES);
  /** One for each record. */
  #sendings: Sending[] = [];
  readonly #results = new Float64Array(RESULTS_KEPT);
  #scheduled = false;
  #stalled = false;
  /** By queue. While a queue has a line, all of its messages are in it: none overtakes another. */
  readonly #lines = new Map<number, Line>();
  /** Of what waits in lines, and of #unstaged. */
  readonly #allowance = new Allowance();
  /** By queue: of records that wait for room in the log, as the allowance counts them. */
  readonly #unstaged = new Map<number, number>();
  /** How many messages and batches have left a line. */
  #left = 0;

  constructor(session: OutboxSession) {
    this.#session = session;
  }

  /** True while something waits for room. */
  get stalled(): boolean {
    return this.#stalled || this.#lines.size > 0;
  }

  /** True while messages wait that a later one for `queue` must not overtake. */
  mustWait(queue: number): boolean {
    return this.#stalled || this.#lines.has(queue);
  }

  /** True while something waits for room in the log (not for room in its queue). */
  get unstaged(): boolean {
    if (this.#sendings.length > 0) return true;
    for (const line of this.#lines.values()) if (!line.full) return true;
    return false;
  }

  /** Takes a message; it crosses into native code before the next turn of the event loop. Throws typed errors. */
  add(headers: Uint8Array | undefined, body: Uint8Array | string, sending: Sending): void {
    if (this.#session.ended !== undefined) throw this.#session.ended;
    const records = this.#records;
    if (records.used > OUTBOX_BYTES / 2 && !this.#stalled) {
      ensureStack();
      this.flush();
    }
    this.#schedule();
    const end = records.write(sending.queue, headers, body, this.#session.limits.messageBytes);
    if (this.mustWait(sending.queue)) {
      this.#addWaiting(end, sending);
      return;
    }
    this.#sendings.push(sending);
    records.used = end;
  }

  /** Puts a batch that found no room in the line of its queue, behind what of this thread is before it. */
  addBatch(queue: number, batch: WaitingBatch, blocks: boolean, full: boolean): void {
    let line = this.#lines.get(queue);
    if (!blocks && line?.full) throw refusal(-QUEUE_FULL);
    if (line === undefined) {
      line = this.#openLine(queue);
      this.#forgetUnstaged();
      this.#keepFrom(0, this.#records.starts());
    }
    if (!this.#allowance.allows(queue, waitingBytes(batch.bytes))) {
      if (line.empty) this.#lines.delete(queue);
      throw tooMuchWaits();
    }
    if (full) line.full = true;
    this.#allowance.add(queue, line.push(batch));
  }

  /** Tries again what waits for room: a few of each line, and more while all of these are taken. */
  retry(): void {
    if (this.#stalled) this.flush();
    /** Lines that had no luck this time: those of other queues go on. */
    const refused = new Set<Line>();
    for (let atOnce = RETRIED_AT_ONCE_MIN; !this.#stalled && this.#session.ended === undefined; atOnce *= 2) {
      const before = this.#left;
      this.#tryBatches(refused);
      this.#tryLines(atOnce, refused);
      this.flush();
      this.#endTries(refused);
      if (this.#left === before || this.#lines.size === 0) return;
    }
  }

  /** Sends everything that is not waiting in a line. */
  flush(): void {
    if (this.#session.ended !== undefined) return;
    const sendings = this.#sendings;
    if (sendings.length === 0) {
      this.#stalled = false;
      return;
    }
    this.#forgetUnstaged();
    const records = this.#records;
    let results = this.#results;
    let consumed: number;
    try {
      if (sendings.length >= RESULTS_KEPT) results = new Float64Array(sendings.length + 1);
      consumed = this.#session.native.send(records.buffer, records.used, results, sendings.length, false);
    } catch (error) {
      this.#sendings = [];
      records.clear(OUTBOX_KEPT_BYTES_MAX);
      for (const sending of sendings) this.#leaveLine(sending, false);
      for (const sending of sendings) sending.fail(error as Error);
      return;
    }
    if (this.#lines.size === 0 && allAccepted(results, consumed, sendings.length)) {
      this.#sendings = [];
      records.clear(OUTBOX_KEPT_BYTES_MAX);
      this.#stalled = false;
      for (let i = 0; i < consumed; i++) sendings[i]?.accepted(results[i] as number);
      this.#confirmWhenCommitted(sendings, results[consumed] as number);
    } else {
      this.#distribute(sendings, consumed, results);
    }
  }

  /** Fails everything that waits here. */
  end(error: Error): void {
    const failed = this.#sendings;
    this.#sendings = [];
    this.#records.clear(0);
    const lines = [...this.#lines.values()];
    this.#lines.clear();
    this.#unstaged.clear();
    this.#allowance.clear();
    this.#stalled = false;
    for (const sending of failed) sending.fail(error);
    for (const line of lines) line.fail(error);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    ensureStack();
    void soon(this.#flushScheduled);
    this.#scheduled = true;
  }

  readonly #flushScheduled = (): void => {
    this.#scheduled = false;
    if (!this.#stalled) this.flush();
  };

  /** Tells each of the first `consumed` senders what became of its message; the others wait. */
  #distribute(sendings: Sending[], consumed: number, results: Float64Array): void {
    const starts = this.#records.starts();
    const accepted: Sending[] = [];
    for (let i = 0; i < consumed; i++) {
      const sending = sendings[i] as Sending;
      const result = results[i] as number;
      if (result > 0) {
        this.#leaveLine(sending, true);
        sending.accepted(result);
        accepted.push(sending);
      } else if (sending.blocks && result === -QUEUE_FULL) {
        this.#joinLine(sending, starts[i] as number, starts[i + 1] as number);
      } else {
        this.#leaveLine(sending, false);
        sending.fail(refusal(result));
      }
    }
    this.#confirmWhenCommitted(accepted, results[sendings.length] as number);
    this.#keepFrom(consumed, starts);
  }

  #confirmWhenCommitted(accepted: readonly Sending[], unit: number): void {
    if (accepted.length === 0) return;
    const group = new Group(accepted, unit);
    if (unit === 0) group.confirm();
    else this.#session.wait(group);
  }

  /** What was not consumed for lack of room in the log stays here, or in its line if its queue has one by now. */
  #keepFrom(consumed: number, starts: readonly number[]): void {
    const sendings = this.#sendings;
    this.#sendings = [];
    const records = this.#records;
    const kept = records.buffer;
    records.used = 0;
    for (let i = consumed; i < sendings.length; i++) {
      const sending = sendings[i] as Sending;
      const start = starts[i] as number;
      const end = starts[i + 1] as number;
      const line = this.#lines.get(sending.queue);
      if (line === undefined) {
        kept.copyWithin(records.used, start, end);
        records.used += end - start;
        this.#sendings.push(sending);
        this.#noteUnstaged(sending.queue, end - start);
      } else if (line.trying) {
        // It stands in the line already.
      } else if (!sending.blocks && line.full) {
        sending.fail(refusal(-QUEUE_FULL));
      } else {
        this.#wait(line, kept.subarray(start, end), sending);
      }
    }
    this.#stalled = this.#sendings.length > 0;
  }

  /** The last record ends at `end`. It waits in the line of its queue, or with all others for room in the log. */
  #addWaiting(end: number, sending: Sending): void {
    const records = this.#records;
    const line = this.#lines.get(sending.queue);
    if (line !== undefined) {
      if (!sending.blocks && line.full) throw refusal(-QUEUE_FULL);
      ensureStack();
      this.#wait(line, records.buffer.subarray(records.used, end), sending);
      return;
    }
    const bytes = end - records.used;
    if (!this.#allowance.allows(sending.queue, waitingBytes(bytes))) throw tooMuchWaits();
    this.#noteUnstaged(sending.queue, bytes);
    this.#sendings.push(sending);
    records.used = end;
  }

  #noteUnstaged(queue: number, recordBytes: number): void {
    const bytes = waitingBytes(recordBytes);
    this.#allowance.add(queue, bytes);
    this.#unstaged.set(queue, (this.#unstaged.get(queue) ?? 0) + bytes);
  }

  #forgetUnstaged(): void {
    for (const [queue, bytes] of this.#unstaged) this.#allowance.add(queue, -bytes);
    this.#unstaged.clear();
  }

  /** The queue of this record is full. One that is being tried is in its line already. */
  #joinLine(sending: Sending, start: number, end: number): void {
    const line = this.#lines.get(sending.queue) ?? this.#openLine(sending.queue);
    line.full = true;
    if (!line.trying) this.#wait(line, this.#records.buffer.subarray(start, end), sending);
  }

  #leaveLine(sending: Sending, taken: boolean): void {
    if (this.#lines.size === 0) return;
    const line = this.#lines.get(sending.queue);
    if (line?.trying) this.#noteLeft(line, line.leave(sending), taken);
  }

  #noteLeft(line: Line, bytes: number, taken: boolean): void {
    this.#allowance.add(line.queue, -bytes);
    this.#left++;
    if (taken) line.full = false;
  }

  #openLine(queue: number): Line {
    const line = new Line(queue);
    this.#lines.set(queue, line);
    // Whoever waits keeps the loop alive.
    void this.#session.room();
    return line;
  }

  #wait(line: Line, record: Uint8Array, sending: Sending): void {
    try {
      if (!this.#allowance.allows(line.queue, waitingBytes(record.length))) throw tooMuchWaits();
      const copy = Uint8Array.prototype.slice.call(record);
      this.#allowance.add(line.queue, line.push({ record: copy, sending }));
    } catch (error) {
      sending.fail(error as Error);
    }
  }

  /** Sends the batches that are next in their line, as far as there is room. */
  #tryBatches(refused: Set<Line>): void {
    for (const line of this.#lines.values()) {
      for (let { batch } = line; batch !== undefined && !refused.has(line); batch = line.batch) {
        try {
          const outcome = batch.attempt();
          if (outcome === "full") line.full = true;
          if (outcome === "sent") this.#noteLeft(line, line.shift(), true);
          else refused.add(line);
        } catch (error) {
          this.#noteLeft(line, line.shift(), false);
          batch.fail(error as Error);
        }
      }
    }
  }

  /** Puts the front of each line, up to `count` messages, behind what is already here. */
  #tryLines(count: number, refused: Set<Line>): void {
    for (const line of this.#lines.values()) {
      if (refused.has(line)) continue;
      for (const { record, sending } of line.try(count)) {
        this.#records.appendRecord(record);
        this.#sendings.push(sending);
      }
    }
  }

  #endTries(refused: Set<Line>): void {
    for (const [queue, line] of this.#lines) {
      if (line.trying) refused.add(line);
      line.endTry();
      if (line.empty) this.#lines.delete(queue);
    }
  }
}
