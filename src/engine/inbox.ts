/**
 * Where the engine writes what a consumer takes. Records are copied once, from the log or the heap into a slab, and
 * bodies are views of it: a slab lives as long as anything that points into it.
 */
import type { Source } from "../codec.js";
import { binding, type NativeSession } from "./binding.js";
import { pin } from "./pinned.js";

const SLAB_BYTES = 256 << 10;
/** A slab with less room than this is left behind. */
const ROOM_BYTES_MIN = 32 << 10;

/** Read once: a property of `binding.layout` would be looked up for every message. */
const { bytes: BYTES, seq: SEQ, deliveryCount: DELIVERY_COUNT } = binding.layout;

export class Slab implements Source {
  readonly memory: ArrayBuffer;
  readonly buffer: Buffer;
  readonly words: Uint32Array;

  constructor(bytes: number) {
    this.memory = new ArrayBuffer(bytes);
    pin(this.memory);
    this.buffer = Buffer.from(this.memory);
    this.words = new Uint32Array(this.memory, 0, bytes >> 2);
  }

  /** How many bytes the record at `offset` takes: the next one lies behind. */
  bytesAt(offset: number): number {
    return this.words[(offset + BYTES) >> 2] as number;
  }

  seqAt(offset: number): number {
    return this.wide(offset + SEQ);
  }

  /** How often the message was handed out, this time included. */
  deliveryCountAt(offset: number): number {
    return this.words[(offset + DELIVERY_COUNT) >> 2] as number;
  }

  /** A field of 64 bits, as a number: exact up to 2^53. */
  wide(offset: number): number {
    return (this.words[offset >> 2] as number) + (this.words[(offset >> 2) + 1] as number) * 4294967296;
  }
}

/** One record in a slab. */
export type Place = (slab: Slab, offset: number) => void;

export class Inbox {
  readonly #native: NativeSession;
  readonly #report = new Float64Array(4);
  #slab = new Slab(0);
  #used = 0;
  #first = 0;

  constructor(native: NativeSession) {
    this.#native = native;
  }

  /** Where the records of the last receive() lie, one behind the other from `first` on. */
  get slab(): Slab {
    return this.#slab;
  }

  get first(): number {
    return this.#first;
  }

  /** How long they are leased. */
  get leaseMs(): number {
    return this.#report[3] as number;
  }

  /**
   * Takes up to `max` messages for `consumer`. Returns their number; 0: the consumer is woken when it should look again.
   * `damaged` is called for a message that cannot be read: it was delivered to this consumer and set aside, and is none
   * of the `max`. It says whether to go on; if not, the consumer looks again itself.
   */
  receive(consumer: number, max: number, damaged: (error: Error) => boolean): number {
    if (this.#slab.buffer.length - this.#used < ROOM_BYTES_MIN) this.#renew(SLAB_BYTES);
    for (;;) {
      let count = this.#native.receive(consumer, this.#slab.buffer, this.#used, max, this.#report);
      // Again while another consumer takes the message that the slab was made for and the next one is larger.
      while (count === 0 && (this.#report[1] as number) > this.#slab.buffer.length - this.#used) {
        this.#renew(Math.max(SLAB_BYTES, this.#report[1] as number));
        count = this.#native.receive(consumer, this.#slab.buffer, this.#used, max, this.#report);
      }
      if (this.#report[2] === 1) {
        // Nothing wakes this consumer for the sound messages behind a damaged one.
        if (damaged(this.#native.damage())) continue;
        return 0;
      }
      this.#first = this.#used;
      this.#used += this.#report[0] as number;
      return count;
    }
  }

  /** Copies up to `max` of the next messages without taking them: the first, and what fits into 64 MiB with it. */
  peek(queue: number, max: number, place: Place): void {
    this.#renew(SLAB_BYTES);
    let count = this.#native.peek(queue, this.#slab.buffer, max, this.#report);
    while (count === 0 && (this.#report[1] as number) > 0) {
      this.#renew(this.#report[1] as number);
      count = this.#native.peek(queue, this.#slab.buffer, max, this.#report);
    }
    const slab = this.#slab;
    for (let i = 0; i < count; i++) {
      place(slab, this.#used);
      this.#used += slab.bytesAt(this.#used);
    }
    if (this.#report[2] === 1 && count === 0) throw this.#native.damage();
  }

  #renew(bytes: number): void {
    this.#slab = new Slab(Math.ceil(bytes / 8) * 8);
    this.#used = 0;
  }
}
