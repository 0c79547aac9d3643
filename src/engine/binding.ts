/** The native addon. Everything native is reached through this module. */
import { MillraceError } from "../errors.js";
import { loadAddon } from "./addon.js";

export interface BrokerHandle {
  readonly broker: number;
  readonly token: number;
}

/** The options that a caller named, by their names; what is undefined stays as the queue has it. */
export interface NativeQueuePatch {
  readonly memory?: boolean;
  readonly [option: string]: unknown;
}

/** All that a queue has: every option of `queueOptions` by its name. */
export interface NativeQueueSettings {
  readonly id: number;
  readonly memory: boolean;
  readonly [option: string]: unknown;
}

/** A row of the table in native/engine/settings.h. */
export interface NativeQueueOption {
  /** Its number in the queue's record. */
  readonly field: number;
  readonly default: number | string;
  /** Of a number. */
  readonly min?: number;
  readonly max?: number;
}

export interface NativeLimits {
  messageBytes: number;
  /** Of a durable queue: what the log takes as one commit. */
  batchBytes: number;
  memoryBatchBytes: number;
  durability: "memory" | "process" | "sync";
}

/** Native class `Session` (native/addon/session_object.h); `Session` in session.ts is its twin. */
export interface NativeSession {
  handle(): BrokerHandle;
  limits(): NativeLimits;
  /** Merges the patch into what the queue has. `report[0]` is the unit to wait for. */
  declare(name: string, patch: NativeQueuePatch, report: Float64Array): NativeQueueSettings;
  send(outbox: Uint8Array, bytes: number, results: Float64Array, count: number, whole: boolean): number;
  openConsumer(queue: number, started: Float64Array): number;
  stopConsumer(consumer: number): void;
  closeConsumer(consumer: number): void;
  leases(consumer: number): number;
  receive(consumer: number, inbox: Uint8Array, offset: number, max: number, report: Float64Array): number;
  peek(queue: number, inbox: Uint8Array, max: number, report: Float64Array): number;
  damage(): Error;
  /** Not `awaited`: nobody is told when it is durable, and it may take a millisecond longer. */
  ack(
    consumer: number,
    seqs: Float64Array,
    counts: Uint32Array,
    lost: Uint8Array,
    n: number,
    awaited: boolean,
  ): number;
  /** Somebody waits after all for a unit that was not awaited. */
  hurry(unit: number): void;
  answer(consumer: number, verb: number, seq: number, count: number, ms: number, reason: string): number;
  burial(queue: number, seq: number): number;
  poll(state: Float64Array): number;
  failure(): Error;
  pause(queue: number, paused: boolean): void;
  purge(queue: number, report: Float64Array): number;
  queueStats(queue: number): Record<string, number | boolean>;
  stats(): Record<string, number | boolean>;
  /** A promise if nobody is left who could close the broker: it ends now. */
  detach(): Promise<void> | undefined;
  close(): Promise<void>;
}

/** Byte offsets of a message record (native/log/record.h). */
export interface MessageLayout {
  bytes: number;
  kind: number;
  headerBytes: number;
  queue: number;
  bodyBytes: number;
  seq: number;
  timestamp: number;
  deliveryCount: number;
  extensionBytes: number;
  content: number;
  align: number;
  messageKind: number;
  deadLetterTag: number;
}

/** What native code calls in one copy of this package. */
export interface NativeHooks {
  makeError(code: string, detail: string): Error;
  /** A native thread has something to say. */
  wake(): void;
  /** A turn that was asked for has come. True: another one, please. */
  turn(): boolean;
  /** The time of this timer is over. */
  timer(id: number): void;
}

/** One copy's door to native code (native/addon/environment_methods.cc). */
export interface NativePort {
  setReferenced(referenced: boolean): void;
  /** While watching, native threads leave a mark for `look` instead of waking the event loop. */
  setWatching(watching: boolean): void;
  look(): boolean;
  requestTurn(): void;
  startTimer(ms: number): number;
  stopTimer(id: number): void;
  open(
    dir: string,
    sync: boolean,
    segmentBytes: number,
    checkpointBytes: number,
    messageBytes: number,
  ): Promise<NativeSession>;
  attach(broker: number, token: number): NativeSession;
}

/** The native class behind `Ring` (native/addon/ring_object.cc), as this project calls it. */
export interface NativeRing {
  readonly slots: number;
  readonly slotBytes: number;
  /** Indices of the waiter words in an `Int32Array` over the ring's buffer. */
  readonly messageWaiters: number;
  readonly spaceWaiters: number;

  /** Pushes the first `length` staged bytes: 1, or FULL, CLOSED, TOO_LARGE; WAKE may be added to a count. */
  tryPush(length: number): number;
  /** Pops into `into` or the staging area: the length, or EMPTY, CLOSED, TOO_LARGE. */
  tryPop(into?: Uint8Array): number;
  /** Pushes staged messages, or packed ones: how many, or FULL, CLOSED, TOO_LARGE. */
  tryPushBatch(count: number): number;
  tryPushBatch(packed: Uint8Array, lengths: Uint32Array): number;
  tryPopBatch(count: number): number;
  tryPopBatch(into: Uint8Array, lengths: Uint32Array): number;
  close(): void;
  isClosed(): boolean;
  length(): number;
  /** Whether the side became ready within so many pauses, and one turn of giving the core away. */
  spin(side: number, spins: number, yields: boolean): boolean;
  /** The word to sleep on, or RETRY or SOON. */
  prepareWait(side: number): number;
  release(side: number): void;
}

export interface NativeRingClass {
  new (memory: Uint8Array, staging: Uint8Array, slots?: number, slotBytes?: number): NativeRing;
  /** Added to a count: the caller must notify the other side's waiters. */
  readonly WAKE: number;
  readonly FULL: number;
  readonly EMPTY: number;
  readonly CLOSED: number;
  readonly TOO_LARGE: number;
  readonly RETRY: number;
  readonly SOON: number;
  readonly MESSAGES: number;
  readonly SPACE: number;
  readonly STAGED_MAX: number;
  readonly STAGING_BYTES: number;
}

export interface NativeBinding {
  /** Of the package that it was compiled for. */
  readonly version: string;
  readonly codes: readonly string[];
  readonly layout: Readonly<MessageLayout>;
  readonly queueOptions: Readonly<Record<string, NativeQueueOption>>;
  now(): number;
  /** An address in the stack of this call: the deeper, the lower. See stack.ts. */
  stackPointer(): number;
  /** `over[0]` becomes 1 in the 10 ms after arm(), if that was true (native/addon/turn_watch.h). */
  openTurn(): { readonly over: Int32Array; arm(): boolean };
  connect(hooks: NativeHooks): NativePort;
  readonly Ring: NativeRingClass;
  /** Bytes of memory for such a ring. Throws `OUT_OF_RANGE`. */
  ringSizeFor(slots: number, slotBytes: number): number;
}

/** Of this package; a test compares it with package.json. */
const VERSION = "0.1.0";

function load(): NativeBinding {
  const loaded = loadAddon() as NativeBinding;
  // Files may be exchanged under a running process, and Node.js keeps what it has loaded.
  if (loaded.version !== VERSION) {
    throw new MillraceError(
      "INCOMPATIBLE",
      `this is millrace ${VERSION} and its native addon is ${loaded.version ?? "older"}: ` +
        "restart the process, or run `npm rebuild millrace` if that does not help",
    );
  }
  return loaded;
}

export const binding = load();
