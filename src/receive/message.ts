import { type Codec, viewOf } from "../codec.js";
import { binding } from "../engine/binding.js";
import type { Slab } from "../engine/inbox.js";
import { MillraceError } from "../errors.js";
import { decodeHeaders, type Headers } from "../headers.js";
import { milliseconds, readOptions, text } from "../options.js";
import { leaseLost, refused } from "./acks.js";

/** Read once: a property of `binding.layout` would be looked up for every message. */
const {
  timestamp: TIMESTAMP,
  kind: KIND,
  extensionBytes: EXTENSION_BYTES,
  bodyBytes: BODY_BYTES,
  content: CONTENT,
  deadLetterTag: DEAD_LETTER_TAG,
} = binding.layout;

/** Numbers of native `Verb` (native/engine/broker.h). */
export const verbs = { nack: 0, reject: 1, release: 2, extend: 3 } as const;

/** Where a message's answers go. */
export interface Lessor {
  readonly codec: Codec;
  ack(seq: number, deliveryCount: number): Promise<void>;
  ackQuietly(seq: number, deliveryCount: number): void;
  answer(verb: number, seq: number, deliveryCount: number, ms: number, reason: string): Promise<void>;
}

export interface NackOptions {
  /** Milliseconds until the message is ready again. Default 0. */
  delay?: number;
  /** Kept with the dead letter if this was the last delivery, 1,024 bytes of it. Default "nack". */
  reason?: string;
}

/** Why and when a message became a dead letter. */
export interface DeadLetter {
  /**
   * What the consumer said, or "visibility timeout", "consumer died", "the process died", "there was no place for it
   * when the process ended".
   */
  readonly reason: string;
  /** Name of the queue it died in, and its seq there. */
  readonly queue: string;
  readonly seq: bigint;
  /** How often it was delivered there. */
  readonly deliveryCount: number;
  /** Wall-clock milliseconds of the first and the last delivery there. */
  readonly firstDelivery: number;
  readonly lastDelivery: number;
}

const REASON_LENGTH_MAX = 1024;

/** The first `max` units of `text`, less one that would be half a letter. The engine cuts again, counting bytes. */
function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const last = text.charCodeAt(max - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? max - 1 : max);
}

/**
 * What both a message and a look at one (`peek`) have. Everything is read from the received bytes when it is asked for;
 * with codec `bytes` the body is a view of up to 256 KiB shared with its neighbours: copy it to keep it for long, or to
 * transfer it.
 */
export class MessageContent<T> {
  readonly #slab: Slab;
  readonly #offset: number;
  readonly #codec: Codec;
  #body: T | undefined;
  #decoded = false;

  constructor(slab: Slab, offset: number, codec: Codec) {
    this.#slab = slab;
    this.#offset = offset;
    this.#codec = codec;
  }

  /** The decoded body. Throws `CODEC_FAILED` if the bytes are not what the queue's codec wrote. */
  get body(): T {
    if (!this.#decoded) {
      const start = this.#offset + CONTENT + this.#headerBytes + this.#extensionBytes;
      this.#body = this.#codec.decode(this.#slab, start, start + this.#bodyBytes) as T;
      this.#decoded = true;
    }
    return this.#body as T;
  }

  get headers(): Headers {
    return decodeHeaders(this.#part(0, this.#headerBytes));
  }

  /** Number of the message in its queue, from 1, rising in the order of sends. */
  get seq(): bigint {
    return BigInt(this.seqNumber);
  }

  /** Wall-clock milliseconds of the send. */
  get timestamp(): number {
    return this.#slab.wide(this.#offset + TIMESTAMP);
  }

  /** The story of a dead letter; undefined for any other message. */
  get deadLetter(): DeadLetter | undefined {
    const extension = this.#part(this.#headerBytes, this.#extensionBytes);
    let at = 0;
    while (at + 4 <= extension.length) {
      const tag = extension.readUInt16LE(at);
      const end = at + 4 + extension.readUInt16LE(at + 2);
      if (tag === DEAD_LETTER_TAG) return readDeadLetter(extension.subarray(at + 4, end));
      at = end;
    }
    return undefined;
  }

  /** @internal */
  get seqNumber(): number {
    return this.#slab.seqAt(this.#offset);
  }

  /** @internal */
  get delivery(): number {
    return this.#slab.deliveryCountAt(this.#offset);
  }

  get #headerBytes(): number {
    return (this.#slab.words[(this.#offset + KIND) >> 2] as number) >>> 16;
  }

  get #extensionBytes(): number {
    return this.#slab.words[(this.#offset + EXTENSION_BYTES) >> 2] as number;
  }

  get #bodyBytes(): number {
    return this.#slab.words[(this.#offset + BODY_BYTES) >> 2] as number;
  }

  #part(from: number, bytes: number): Buffer {
    const start = this.#offset + CONTENT + from;
    return viewOf(this.#slab, start, start + bytes);
  }
}

const DEAD_LETTER_BYTES_MIN = 30;

function readDeadLetter(entry: Buffer): DeadLetter {
  if (entry.length < DEAD_LETTER_BYTES_MIN)
    throw new MillraceError("CORRUPT", "a dead letter's story ends early");
  const nameBytes = entry.readUInt16LE(28);
  return {
    seq: entry.readBigUInt64LE(0),
    firstDelivery: Number(entry.readBigUInt64LE(8)),
    lastDelivery: Number(entry.readBigUInt64LE(16)),
    deliveryCount: entry.readUInt32LE(24),
    queue: entry.toString("utf8", DEAD_LETTER_BYTES_MIN, DEAD_LETTER_BYTES_MIN + nameBytes),
    reason: entry.toString("utf8", DEAD_LETTER_BYTES_MIN + nameBytes),
  };
}

/**
 * A delivery: the message and the lease on it. Exactly one of `ack`, `nack`, `reject` and `release` settles the lease;
 * each returns a promise that resolves when that is as durable as the broker, and rejects with `LEASE_LOST` when the
 * lease had ended (its time was over, or it was settled before): the message then belongs to somebody else. A promise
 * that nobody looks at never becomes an unhandled rejection.
 */
export class Message<T> extends MessageContent<T> {
  readonly #lessor: Lessor;
  #answered = false;

  constructor(slab: Slab, offset: number, lessor: Lessor) {
    super(slab, offset, lessor.codec);
    this.#lessor = lessor;
  }

  /** How often this message was handed out, this time included: from 1. */
  get deliveryCount(): number {
    return this.delivery;
  }

  get redelivered(): boolean {
    return this.delivery > 1;
  }

  /** True once `ack`, `nack`, `reject` or `release` was called, by you or by what its handler returned. */
  get answered(): boolean {
    return this.#answered;
  }

  /** Done: the message never comes back. Cheap: acks of one turn cross and commit together. */
  ack(): Promise<void> {
    if (this.#answered) return refused(leaseLost());
    const acked = this.#lessor.ack(this.seqNumber, this.delivery);
    this.#answered = true;
    return acked;
  }

  /** @internal ack() for callers that do not want to know, and that see to it that it crosses. */
  ackQuietly(): void {
    this.#lessor.ackQuietly(this.seqNumber, this.delivery);
    this.#answered = true;
  }

  /** Failed: deliver it again, after `delay`; on the last of `maxDeliveries` it becomes a dead letter. */
  nack(options?: NackOptions): Promise<void> {
    const given = readOptions(options, ["delay", "reason"], "nack options");
    const delay = given.delay === undefined ? 0 : milliseconds(given.delay, "delay");
    const reason = given.reason === undefined ? "nack" : text(given.reason, "reason");
    return this.#answer(verbs.nack, delay, reason);
  }

  /** Hopeless: straight to the dead-letter queue. */
  reject(reason = "rejected"): Promise<void> {
    return this.#answer(verbs.reject, 0, text(reason, "reason"));
  }

  /** Unused: back to the queue at once; this delivery does not count towards `maxDeliveries`. */
  release(): Promise<void> {
    return this.#answer(verbs.release, 0, "");
  }

  /** More time: the lease ends `ms` milliseconds from now (at least 1). */
  extend(ms: number): Promise<void> {
    const wanted = milliseconds(ms, "ms", 1);
    if (this.#answered) return refused(leaseLost());
    return this.#lessor.answer(verbs.extend, this.seqNumber, this.delivery, wanted, "");
  }

  #answer(verb: number, ms: number, reason: string): Promise<void> {
    if (this.#answered) return refused(leaseLost());
    const said = cut(reason, REASON_LENGTH_MAX);
    const done = this.#lessor.answer(verb, this.seqNumber, this.delivery, ms, said);
    this.#answered = true;
    return done;
  }
}
