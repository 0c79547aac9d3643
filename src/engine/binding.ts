/** The only loader of the native addon. Everything native is reached through this module. */
import { createRequire } from "node:module";
import { errorOf } from "../errors.js";
import type { NativeRingModule } from "./native-ring.js";

export interface BrokerHandle {
  readonly broker: number;
  readonly token: number;
}

export interface NativeQueueSettings {
  id: number;
  memory: boolean;
  capacity: number;
  maxDeliveries: number;
  visibilityTimeout: number;
  deadLetter: string;
}

export interface NativeLimits {
  messageBytes: number;
  /** Of a durable queue: what the log takes as one commit. */
  batchBytes: number;
  memoryBatchBytes: number;
  durability: "memory" | "process" | "sync";
}

/** Native class `Session` (native/addon/session_methods.cc); `Session` in session.ts is its twin. */
export interface NativeSession {
  handle(): BrokerHandle;
  limits(): NativeLimits;
  lookup(name: string): NativeQueueSettings | undefined;
  declare(
    name: string,
    memory: boolean,
    capacity: number,
    maxDeliveries: number,
    visibilityTimeout: number,
    deadLetter: string,
    report: Float64Array,
  ): number;
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
  answer(consumer: number, verb: number, seq: number, count: number, ms: number, reason: string): number;
  burial(queue: number, seq: number): number;
  poll(state: Float64Array): number;
  failure(): Error;
  pause(queue: number, paused: boolean): void;
  purge(queue: number, report: Float64Array): number;
  queueStats(queue: number): Record<string, number | boolean>;
  stats(): Record<string, number | boolean>;
  detach(): void;
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

export interface NativeBinding extends NativeRingModule {
  readonly codes: readonly string[];
  readonly layout: Readonly<MessageLayout>;
  configure(makeError: (code: string, detail: string) => Error, onWake: () => void): void;
  setReferenced(referenced: boolean): void;
  /** While watching, native threads leave a mark for `look` instead of waking the event loop. */
  setWatching(watching: boolean): void;
  look(): boolean;
  open(
    dir: string,
    sync: boolean,
    segmentBytes: number,
    checkpointBytes: number,
    messageBytes: number,
  ): Promise<NativeSession>;
  attach(broker: number, token: number): NativeSession;
}

const require = createRequire(import.meta.url);

function load(): NativeBinding {
  try {
    return require("../../build/Release/millrace.node") as NativeBinding;
  } catch (cause) {
    throw new Error(
      "millrace's native addon is not built: run `npm rebuild millrace` and read what it says",
      {
        cause,
      },
    );
  }
}

export const binding = load();

const wakeListeners = new Set<() => void>();

/** Calls `listener` whenever a native thread woke this event loop. */
export function onWake(listener: () => void): () => void {
  wakeListeners.add(listener);
  return () => wakeListeners.delete(listener);
}

/** Calls the listeners. */
export function tellWake(): void {
  for (const listener of wakeListeners) listener();
}

let holders = 0;

/** Keeps this thread's event loop alive until the returned function was called (once or more). */
export function holdLoop(): () => void {
  if (holders++ === 0) binding.setReferenced(true);
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    if (--holders === 0) binding.setReferenced(false);
  };
}

binding.configure(errorOf, tellWake);
