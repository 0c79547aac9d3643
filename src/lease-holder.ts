/**
 * The engine side of one consumer: takes messages ahead of need, counts those that reached a handler, and sends the
 * acks of one turn across together.
 */
import type { Codec } from "./codec.js";
import { after, nowMs, soon } from "./engine/loop.js";
import type { Session } from "./engine/session.js";
import { ensureStack } from "./engine/stack.js";
import { MillraceError } from "./errors.js";
import { type Lessor, leaseLost, Message, verbs } from "./message.js";

const ACKS_AT_ONCE = 1024;
/** A consumer that has little to do keeps little memory for it. */
const ACKS_AT_FIRST = 32;
const LEASE_LOOK_MS_MIN = 10;
/** The clock is read for one of so many messages; a power of two. */
const MESSAGES_PER_LOOK = 16;

/** A queue, as its consumers see it. */
export interface Leased {
  readonly id: number;
  /** How long a lease lasts. */
  readonly leaseMs: number;
}

interface Settlement {
  resolve(): void;
  reject(error: Error): void;
}

/** Somebody who does not look at the promise of an ack must not die of its rejection. */
function unlooked<P extends Promise<void>>(promise: P): P {
  promise.catch(ignore);
  return promise;
}

const ignore = (): void => {};

/** The functions of the promise that was made last: one executor for all, or each ack would make a closure for it. */
let resolveNewest: (() => void) | undefined;
let rejectNewest: ((error: Error) => void) | undefined;
const keepFunctions = (resolve: () => void, reject: (error: Error) => void): void => {
  resolveNewest = resolve;
  rejectNewest = reject;
};

export class LeaseHolder<T> implements Lessor {
  readonly codec: Codec;
  readonly #session: Session;
  readonly #id: number;
  readonly #queue: number;
  /** Read by native code when this thread dies: deliveries beyond it never reached a handler. */
  readonly #started = new Float64Array(1);
  /** Half a lease: what was taken ahead and waited longer goes back, so that no lease ends before a handler begins. */
  readonly #waitMsMax: number;
  /** Taken at once, at #takenAt. */
  #ahead: Message<T>[] = [];
  #next = 0;
  #takenAt = 0;
  #looks = 0;
  #cancelWatch: (() => void) | undefined;
  #cancelCount: (() => void) | undefined;
  /** Handed out and not answered. */
  #taken = 0;
  /** Of those: how many were left to their visibility timeout, as far as was counted. */
  #expired = 0;
  #open = true;

  #seqs = new Float64Array(ACKS_AT_FIRST);
  #counts = new Uint32Array(ACKS_AT_FIRST);
  #lost = new Uint8Array(ACKS_AT_FIRST);
  /** Of those acks whose promise somebody has, by their place among all. */
  #settlements = new Map<number, Settlement>();
  #acks = 0;
  #scheduled = false;

  /** `ready` is called when take() may give something again; `damaged` for a message that cannot be read: go on behind it? */
  constructor(
    session: Session,
    queue: Leased,
    codec: Codec,
    ready: () => void,
    damaged: (error: Error) => boolean,
  ) {
    this.#ready = ready;
    if (session.ended !== undefined) throw session.ended;
    this.#session = session;
    this.codec = codec;
    this.#damaged = damaged;
    this.#waitMsMax = queue.leaseMs / 2;
    this.#queue = queue.id;
    this.#id = session.native.openConsumer(queue.id, this.#started);
    session.listen(this.#id, ready);
  }

  readonly #ready: () => void;
  readonly #damaged: (error: Error) => boolean;

  /** Called after messages were settled: there may be room to take more. */
  onSettled: () => void = () => {};

  /** Messages taken and not settled. */
  get outstanding(): number {
    return this.#taken;
  }

  /** The next message, taking up to `prefetch` ahead; undefined: `ready` will be called. */
  take(prefetch: number): Message<T> | undefined {
    // The timer does not run while handlers keep the event loop busy.
    if ((++this.#looks & (MESSAGES_PER_LOOK - 1)) === 0) this.#dropStale();
    if (this.#next === this.#ahead.length) {
      this.#ahead.length = 0;
      this.#next = 0;
      if (!this.#open) return undefined;
      ensureStack();
      this.flush();
      const room = prefetch - this.#taken + this.#expired;
      if (room > 0) {
        const received = this.#session.inbox.receive(this.#id, room, this.#place, this.#onDamage);
        this.#taken += received;
      }
      if (this.#ahead.length === 0) {
        if (room <= 0) this.#countLater();
        return undefined;
      }
      if (this.#ahead.length > 1) this.#watchAhead();
    }
    this.#started[0] = (this.#started[0] as number) + 1;
    return this.#ahead[this.#next++];
  }

  /** A damaged message was a delivery of this consumer too. */
  readonly #onDamage = (error: Error): boolean => {
    this.#started[0] = (this.#started[0] as number) + 1;
    return this.#damaged(error);
  };

  /** What was taken and left to its visibility timeout makes room without a word: one has to look. */
  #countLater(): void {
    this.#cancelCount ??= after(Math.max(LEASE_LOOK_MS_MIN, this.#waitMsMax), () => {
      this.#cancelCount = undefined;
      if (!this.#open || this.#session.ended !== undefined) return;
      this.#expired = Math.max(0, this.#taken - this.#session.native.leases(this.#id));
      this.#ready();
    });
  }

  #watchAhead(): void {
    this.#takenAt = nowMs();
    this.#cancelWatch ??= after(this.#waitMsMax, this.#onTimer);
  }

  readonly #onTimer = (): void => {
    this.#cancelWatch = undefined;
    this.#dropStale();
    if (this.#next === this.#ahead.length) return;
    const left = this.#waitMsMax - (nowMs() - this.#takenAt);
    this.#cancelWatch = after(Math.max(1, left), this.#onTimer);
  };

  #dropStale(): void {
    if (this.#next === this.#ahead.length) return;
    if (nowMs() - this.#takenAt >= this.#waitMsMax) this.#giveBack();
  }

  /** Releases what no handler saw: it goes back to the queue and does not count as delivered. */
  #giveBack(): void {
    const unseen = this.#ahead.slice(this.#next);
    this.#ahead = [];
    this.#next = 0;
    // Later deliveries are counted from behind these.
    this.#started[0] = (this.#started[0] as number) + unseen.length;
    if (this.#session.ended !== undefined) return;
    // Taken counts them until they are answered.
    for (const message of unseen) void this.answer(verbs.release, message.seqNumber, message.delivery, 0, "");
  }

  readonly #place = (slab: ConstructorParameters<typeof Message>[0], offset: number): void => {
    this.#ahead.push(new Message<T>(slab, offset, this));
  };

  ack(seq: number, deliveryCount: number): Promise<void> {
    rejectNewest = undefined;
    const promise = unlooked(new Promise<void>(keepFunctions));
    // A promise that has too little stack for its executor is rejected; the message was not answered then.
    if (resolveNewest === undefined || rejectNewest === undefined) {
      throw new RangeError("Maximum call stack size exceeded");
    }
    this.#addAck(seq, deliveryCount, { resolve: resolveNewest, reject: rejectNewest });
    return promise;
  }

  /** ack() for callers that do not want to know. */
  ackQuietly(message: Message<T>): void {
    this.#addAck(message.seqNumber, message.delivery, undefined);
  }

  answer(verb: number, seq: number, deliveryCount: number, ms: number, reason: string): Promise<void> {
    ensureStack();
    // Acks that were said before this must reach the engine before it.
    this.flush();
    let result: Promise<void>;
    let lost = false;
    try {
      const unit = this.#session.native.answer(this.#id, verb, seq, deliveryCount, ms, reason);
      // A dead message that waits for room in its dead-letter queue is done when it is there; it is not lost.
      result = unit < 0 ? this.#session.buried(this.#queue, seq) : this.#session.committed(unit);
    } catch (error) {
      lost = error instanceof MillraceError && error.code === "LEASE_LOST";
      result = Promise.reject(error as Error);
    }
    if (verb !== verbs.extend) {
      this.#answered(1, lost ? 1 : 0);
    }
    return unlooked(result);
  }

  #addAck(seq: number, deliveryCount: number, settlement: Settlement | undefined): void {
    if (this.#session.ended !== undefined) {
      settlement?.reject(this.#session.ended);
      return;
    }
    // Whatever may throw comes before the first change (see stack.ts).
    if (this.#acks === this.#seqs.length) this.#makeRoom();
    if (!this.#scheduled) {
      ensureStack();
      void soon(this.#flushScheduled);
      this.#scheduled = true;
    }
    const at = this.#acks;
    if (settlement !== undefined) this.#settlements.set(at, settlement);
    this.#seqs[at] = seq;
    this.#counts[at] = deliveryCount;
    this.#acks = at + 1;
  }

  /** For one more ack. */
  #makeRoom(): void {
    ensureStack();
    const length = 2 * this.#acks;
    if (length > ACKS_AT_ONCE) {
      this.flush();
      return;
    }
    const seqs = new Float64Array(length);
    const counts = new Uint32Array(length);
    this.#lost = new Uint8Array(length);
    seqs.set(this.#seqs);
    counts.set(this.#counts);
    this.#seqs = seqs;
    this.#counts = counts;
  }

  readonly #flushScheduled = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  /** Sends the collected acks across. */
  flush(): void {
    const n = this.#acks;
    if (n === 0) return;
    const settlements = this.#settlements;
    const awaited = settlements.size > 0;
    if (awaited) this.#settlements = new Map();
    this.#acks = 0;
    let unit = 0;
    try {
      unit = this.#session.native.ack(this.#id, this.#seqs, this.#counts, this.#lost, n, awaited);
    } catch (error) {
      for (const settlement of settlements.values()) settlement.reject(error as Error);
      return;
    }
    const confirmed: Settlement[] = [];
    for (const [at, settlement] of settlements) {
      if (this.#lost[at] !== 0) settlement.reject(leaseLost());
      else confirmed.push(settlement);
    }
    this.#answered(n, this.#countLost(n));
    if (confirmed.length === 0) return;
    const confirm = (): void => {
      for (const settlement of confirmed) settlement.resolve();
    };
    if (unit === 0) {
      confirm();
      return;
    }
    const fail = (error: Error): void => {
      for (const settlement of confirmed) settlement.reject(error);
    };
    this.#session.wait({ unit, promises: confirmed.length, confirm, fail });
  }

  #countLost(n: number): number {
    let lost = 0;
    for (let at = 0; at < n; at++) lost += this.#lost[at] as number;
    return lost;
  }

  #answered(count: number, lost: number): void {
    this.#taken -= count;
    this.#expired = Math.max(0, this.#expired - lost);
    this.onSettled();
  }

  /** Takes nothing more and gives back what no handler saw. What handlers have stays leased. */
  stop(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#cancelWatch?.();
    this.#cancelCount?.();
    this.#giveBack();
    if (this.#session.ended === undefined) this.#session.native.stopConsumer(this.#id);
  }

  /** Gives everything back and forgets the consumer. */
  close(): void {
    this.stop();
    this.flush();
    this.#session.unlisten(this.#id);
    if (this.#session.ended === undefined) this.#session.native.closeConsumer(this.#id);
  }
}
