import { types } from "node:util";
import { checkEmpty, plainBytes } from "./bytes.js";
import type { NativeRing } from "./engine/binding.js";
import { binding } from "./engine/binding.js";
import { pin } from "./engine/pinned.js";
import { RingWaiting } from "./engine/ring-waiting.js";
import { invalidArgument, MillraceError, outOfRange } from "./errors.js";
import { isArray, readOptions } from "./options.js";
import { abortReason, abortSignal } from "./signals.js";

const { CLOSED, EMPTY, FULL, MESSAGES, SPACE, STAGED_MAX, STAGING_BYTES, TOO_LARGE, WAKE } = binding.Ring;

/** What passes between this thread and native code: all rings use it, each within one call. */
let sharedStaging: SharedArrayBuffer | undefined;

export interface RingOptions {
  /** How many messages fit: a power of two, 2 to 2^24. */
  slots: number;
  /** The longest message in bytes, 1 to 65,536. All slots together may take up to 1 GiB. */
  slotBytes: number;
}

export interface RingWaitOptions {
  /** Ends the wait: the promise rejects with the signal's reason and nothing was pushed or popped. */
  signal?: AbortSignal | undefined;
}

/**
 * A bounded queue of byte messages in a `SharedArrayBuffer`, for any number of producers and consumers in any threads
 * of the process. Lock free, first in first out, nothing durable: the fastest way from one thread to another.
 *
 * ```ts
 * const ring = Ring.create({ slots: 4096, slotBytes: 128 });
 * new Worker("./worker.js", { workerData: ring.buffer });   // there: Ring.attach(workerData)
 * await ring.push(bytes);
 * ```
 *
 * A ring keeps no event loop alive, but a pending `push` or `pop` does. Algorithm: Dmitry Vyukov's bounded MPMC queue,
 * with claims in batches.
 */
export class Ring {
  /** The shared memory: send it to another thread and attach there. Writing to it garbles messages. */
  readonly buffer: SharedArrayBuffer;
  readonly slots: number;
  readonly slotBytes: number;
  readonly #native: NativeRing;
  readonly #staging: Uint8Array;
  readonly #lengths: Uint32Array;
  readonly #messages: RingWaiting;
  readonly #space: RingWaiting;

  private constructor(buffer: SharedArrayBuffer, options?: RingOptions) {
    sharedStaging ??= new SharedArrayBuffer(STAGING_BYTES + STAGED_MAX * Uint32Array.BYTES_PER_ELEMENT);
    const staging = sharedStaging;
    const memory = new Uint8Array(buffer);
    const native = options
      ? new binding.Ring(memory, new Uint8Array(staging), options.slots, options.slotBytes)
      : new binding.Ring(memory, new Uint8Array(staging));
    const words = new Int32Array(buffer, 0, Math.floor(buffer.byteLength / Int32Array.BYTES_PER_ELEMENT));
    this.buffer = buffer;
    this.slots = native.slots;
    this.slotBytes = native.slotBytes;
    this.#native = native;
    this.#staging = new Uint8Array(staging, 0, STAGING_BYTES);
    this.#lengths = new Uint32Array(staging, STAGING_BYTES, STAGED_MAX);
    this.#messages = new RingWaiting(native, words, native.messageWaiters, MESSAGES);
    this.#space = new RingWaiting(native, words, native.spaceWaiters, SPACE);
  }

  /**
   * Makes an empty ring in memory of its own.
   * @throws RangeError `OUT_OF_RANGE`, TypeError `INVALID_ARGUMENT`
   */
  static create(options: RingOptions): Ring {
    const given = readOptions(options, ["slots", "slotBytes"], "ring options");
    const slots = uint32("slots", given.slots);
    const slotBytes = uint32("slotBytes", given.slotBytes);
    const buffer = new SharedArrayBuffer(binding.ringSizeFor(slots, slotBytes));
    return new Ring(buffer, { slots, slotBytes });
  }

  /**
   * Opens the ring that another thread created.
   * @throws MillraceError `INCOMPATIBLE` if the buffer holds no ring, TypeError `INVALID_ARGUMENT`
   */
  static attach(buffer: SharedArrayBuffer): Ring {
    if (!types.isSharedArrayBuffer(buffer)) throw invalidArgument("buffer must be a SharedArrayBuffer");
    try {
      return new Ring(buffer);
    } catch (cause) {
      throw new MillraceError("INCOMPATIBLE", "the buffer holds no ring of this version", { cause });
    }
  }

  /** Whether the ring was closed, by any thread. Messages may be left in it. */
  get closed(): boolean {
    return this.#native.isClosed();
  }

  /** How many messages are in the ring at some moment of the call. */
  get length(): number {
    return this.#native.length();
  }

  /**
   * Copies `bytes` into the ring. False: it is full.
   * @throws MillraceError `CLOSED`, `MESSAGE_TOO_LARGE`; TypeError `INVALID_ARGUMENT`
   */
  tryPush(bytes: Uint8Array): boolean {
    const message = this.#check(bytes);
    this.#staging.set(message);
    const pushed = this.#native.tryPush(message.length);
    if (pushed === 1) return true;
    if (pushed === FULL) return false;
    return this.#pushed(pushed, message.length) === 1;
  }

  /**
   * Takes the next message. With `into`, copies it there and returns its length, or -1 if the ring is empty: nothing
   * is allocated. Without, returns it, or undefined if the ring is empty.
   * @throws MillraceError `CLOSED` once the ring is closed and drained; RangeError `OUT_OF_RANGE` if the message does
   * not fit in `into` (it stays in the ring); TypeError `INVALID_ARGUMENT`
   */
  tryPop(into: Uint8Array): number;
  tryPop(): Uint8Array | undefined;
  tryPop(into?: Uint8Array): number | Uint8Array | undefined {
    if (into === undefined) {
      const length = this.#popped(this.#native.tryPop());
      return length === EMPTY ? undefined : this.#staging.slice(0, length);
    }
    if (!types.isUint8Array(into)) throw notBytes("into");
    const popped = this.#native.tryPop(into);
    return popped >= EMPTY && popped < WAKE ? popped : this.#popped(popped);
  }

  /**
   * Pushes as many messages as there is room for, in order, and returns how many. The second form takes them packed one
   * after the other, with their lengths, at most 1,024 a call: it costs least.
   * @throws as `tryPush`; `MESSAGE_TOO_LARGE` and `INVALID_ARGUMENT` before anything is pushed
   */
  tryPushBatch(messages: readonly Uint8Array[]): number;
  tryPushBatch(packed: Uint8Array, lengths: Uint32Array): number;
  tryPushBatch(messages: readonly Uint8Array[] | Uint8Array, lengths?: Uint32Array): number {
    if (lengths !== undefined) {
      if (!types.isUint8Array(messages)) throw notBytes("packed");
      if (!types.isUint32Array(lengths)) throw invalidArgument("lengths must be a Uint32Array");
      if (lengths.length === 0) checkEmpty(lengths, "lengths");
      return this.#pushPacked(messages, lengths);
    }
    if (!isArray(messages)) throw invalidArgument("messages must be an array");
    return this.#pushList(messages);
  }

  /**
   * Takes up to `max` messages; those of one call share memory of their own, in pieces of at most 64 KiB, which cannot
   * be transferred. The second form packs them one after the other into `into`, writes their lengths and
   * returns how many, 0 if the ring is empty, stopping before one that no longer fits; at most 1,024 a call.
   * @throws as `tryPop`
   */
  tryPopBatch(max: number): Uint8Array[];
  tryPopBatch(into: Uint8Array, lengths: Uint32Array): number;
  tryPopBatch(maxOrInto: number | Uint8Array, lengths?: Uint32Array): Uint8Array[] | number {
    if (typeof maxOrInto === "number") return this.#popList(uint32("max", maxOrInto));
    if (!types.isUint8Array(maxOrInto)) throw notBytes("into");
    if (!types.isUint32Array(lengths)) throw invalidArgument("lengths must be a Uint32Array");
    return Math.max(0, this.#popped(this.#native.tryPopBatch(maxOrInto, lengths)));
  }

  /**
   * Pushes `bytes` as soon as there is room. They are read when that happens: do not change them before.
   * Pushes of one thread go in the order in which they were called.
   * @throws as `tryPush`, and with the signal's reason
   */
  async push(bytes: Uint8Array, options?: RingWaitOptions): Promise<void> {
    const signal = readSignal(options);
    const message = this.#check(bytes);
    const attempt = () => this.tryPush(message) || undefined;
    if (!this.#space.tryNow(attempt)) await this.#space.wait(attempt, signal);
  }

  /**
   * Resolves with the next message as soon as there is one.
   * @throws MillraceError `CLOSED` once the ring is closed and drained, and the signal's reason
   */
  async pop(options?: RingWaitOptions): Promise<Uint8Array> {
    const signal = readSignal(options);
    const attempt = () => this.tryPop();
    return this.#messages.tryNow(attempt) ?? this.#messages.wait(attempt, signal);
  }

  /**
   * Resolves with one to `max` messages as soon as there are any.
   * @throws as `pop`; TypeError or RangeError for `max`
   */
  async popBatch(max: number, options?: RingWaitOptions): Promise<Uint8Array[]> {
    const signal = readSignal(options);
    if (uint32("max", max) === 0) throw outOfRange("max must be at least 1");
    const attempt = () => {
      const messages = this.tryPopBatch(max);
      return messages.length === 0 ? undefined : messages;
    };
    return this.#messages.tryNow(attempt) ?? this.#messages.wait(attempt, signal);
  }

  /**
   * Refuses further pushes, in every thread, and wakes everybody who waits: a pending `push` rejects with `CLOSED`, a
   * pending `pop` once nothing is left. What is in the ring can still be popped.
   */
  close(): void {
    this.#native.close();
    this.#messages.notify();
    this.#space.notify();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** A message that may be pushed. */
  #check(given: Uint8Array): Uint8Array {
    if (!types.isUint8Array(given)) throw notBytes("a message");
    const message = plainBytes(given, "a message");
    if (message.length > this.slotBytes) throw this.#tooLarge(message.length);
    return message;
  }

  #pushList(given: readonly Uint8Array[]): number {
    const messages = listOf(given).map((message) => this.#check(message));
    let accepted = 0;
    while (accepted < messages.length) {
      const staged = this.#stage(messages, accepted);
      const pushed = this.#pushed(this.#native.tryPushBatch(staged), 0, accepted);
      accepted += pushed;
      if (pushed < staged) break;
    }
    return accepted;
  }

  /** Copies messages from `from` on into the staging area, as many as fit there and about as many as the ring has room for. */
  #stage(messages: readonly Uint8Array[], from: number): number {
    const countMax = Math.min(STAGED_MAX, Math.max(1, this.slots - this.length));
    let at = 0;
    let count = 0;
    for (; count < countMax; count++) {
      const message = messages[from + count];
      if (message === undefined || at + message.length > STAGING_BYTES) break;
      this.#staging.set(message, at);
      this.#lengths[count] = message.length;
      at += message.length;
    }
    return count;
  }

  #pushPacked(packed: Uint8Array, lengths: Uint32Array): number {
    let total = 0;
    for (const length of lengths) {
      if (length > this.slotBytes) throw this.#tooLarge(length);
      total += length;
    }
    if (total > packed.length) throw outOfRange("lengths add up to more than packed has");
    return this.#pushed(this.#native.tryPushBatch(packed, lengths), 0);
  }

  #popList(max: number): Uint8Array[] {
    const messages: Uint8Array[] = [];
    while (messages.length < max) {
      const wanted = Math.min(max - messages.length, STAGED_MAX);
      const answer = this.#native.tryPopBatch(wanted);
      if (answer === CLOSED && messages.length > 0) break;
      const count = this.#popped(answer);
      let total = 0;
      for (let i = 0; i < count; i++) total += this.#lengths[i] ?? 0;
      // One allocation for all: half the time of one for each.
      const { buffer } = this.#staging.slice(0, total);
      if (count > 1) pin(buffer);
      let at = 0;
      for (let i = 0; i < count; i++) {
        const length = this.#lengths[i] ?? 0;
        messages.push(new Uint8Array(buffer, at, length));
        at += length;
      }
      if (count <= 0) break;
    }
    return messages;
  }

  /** What a native push answered, as a count; wakes consumers if it says so. */
  #pushed(answer: number, length: number, before = 0): number {
    if (answer >= WAKE) this.#messages.notify();
    if (answer >= 0) return answer & (WAKE - 1);
    if (answer === FULL || (answer === CLOSED && before > 0)) return 0;
    if (answer === CLOSED) throw closed();
    if (answer === TOO_LARGE) throw this.#tooLarge(length);
    throw invalidArgument("the arguments changed during the call");
  }

  /** What a native pop answered, as a count, a length or EMPTY; wakes producers if it says so. */
  #popped(answer: number): number {
    if (answer >= WAKE) this.#space.notify();
    if (answer >= 0) return answer & (WAKE - 1);
    if (answer === EMPTY) return EMPTY;
    if (answer === CLOSED) throw closed();
    if (answer === TOO_LARGE) throw outOfRange("the next message does not fit in the given array");
    throw invalidArgument("the arguments changed during the call");
  }

  #tooLarge(length: number): MillraceError {
    return new MillraceError(
      "MESSAGE_TOO_LARGE",
      `a message of ${length} bytes does not fit in a slot of ${this.slotBytes}`,
    );
  }
}

function closed(): MillraceError {
  return new MillraceError("CLOSED", "the ring is closed");
}

function notBytes(name: string): TypeError {
  return invalidArgument(`${name} must be a Uint8Array`);
}

/** Its elements, each read once, holes too; a subclass's own map() is not asked. */
function listOf(given: readonly Uint8Array[]): Uint8Array[] {
  try {
    return Array.from(given);
  } catch (cause) {
    throw invalidArgument("messages cannot be read", { cause });
  }
}

function uint32(name: string, value: unknown): number {
  if (typeof value !== "number") throw invalidArgument(`${name} must be a number`);
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw outOfRange(`${name} must be a whole number from 0 to 4294967295`);
  }
  return value;
}

/** The signal, which has not aborted. Throws its reason if it has. */
function readSignal(options: RingWaitOptions | undefined): AbortSignal | undefined {
  if (options === undefined) return undefined;
  const given = readOptions(options, ["signal"], "wait options");
  if (given.signal === undefined) return undefined;
  const signal = abortSignal(given.signal, "signal");
  if (signal.aborted) throw abortReason(signal);
  return signal;
}
