/**
 * The engine side of one consumer: takes messages ahead of need, counts those that reached a handler, and says what
 * became of them.
 *
 * H1 `started` counts, in the order in which they were taken, the deliveries that somebody got, were damaged or went
 *    back: when this thread dies, or the consumer closes, those behind it go back uncounted. Whoever ends the thread on
 *    purpose may share the count and set it to -Infinity, which counting leaves as it is: then all go back uncounted.
 * H2 What was taken ahead goes back when half of its lease is over, so that no lease ends before a handler begins. A
 *    timer sees to it, and the first take of each turn, because deliveries that keep the loop busy delay timers.
 * H3 How long a lease lasts is what the engine says with what it hands out: settings change while consumers run.
 * H4 `taken` counts what was taken and is not answered, as the engine knows it: acks on their way count still.
 * H5 While this thread waits for confirmations, no more than BESIDE_WAIT_MAX messages are taken at once, and the thread's
 *    consumers give way after as many: who awaits a send need not wait for a whole backlog. What was taken before the
 *    wait began goes first, within the 10 ms of a turn.
 */

import type { Codec } from "../codec.js";
import { Slab } from "../engine/inbox.js";
import { after, nowMs } from "../engine/loop.js";
import type { Session } from "../engine/session.js";
import { ensureStack } from "../engine/stack.js";
import { BESIDE_WAIT_MAX, turn } from "../engine/turn.js";
import { MillraceError } from "../errors.js";
import { Acks, refused, unlooked } from "./acks.js";
import { type Lessor, Message, verbs } from "./message.js";

const LEASE_LOOK_MS_MIN = 10;
const NOTHING = new Slab(0);

export interface LeaseEvents {
  /** take() may give something again. */
  ready(): void;
  /** A message cannot be read. True: go on with those behind it. */
  damaged(error: Error): boolean;
  /** Messages were settled, or their leases ended: there may be room to take more. */
  settled?(): void;
}

export class LeaseHolder<T> implements Lessor {
  readonly codec: Codec;
  readonly #session: Session;
  readonly #id: number;
  readonly #queue: number;
  readonly #events: LeaseEvents;
  readonly #acks: Acks;
  /** Read by native code: see H1. */
  readonly #started: Float64Array;
  /** What was taken ahead: `left` records from `at` on. */
  #slab = NOTHING;
  #at = 0;
  #left = 0;
  #takenAtMs = 0;
  #takenIn = 0;
  /** Half a lease. */
  #aheadMsMax = LEASE_LOOK_MS_MIN;
  #cancelAhead: (() => void) | undefined;
  #cancelCount: (() => void) | undefined;
  #taken = 0;
  /** Of those: how many were left to their visibility timeout, as far as was counted. */
  #expired = 0;
  #open = true;

  constructor(
    session: Session,
    queue: number,
    codec: Codec,
    events: LeaseEvents,
    started: Float64Array = new Float64Array(1),
  ) {
    if (session.ended !== undefined) throw session.ended;
    this.#started = started;
    this.#session = session;
    this.codec = codec;
    this.#events = events;
    this.#queue = queue;
    this.#id = session.native.openConsumer(queue, this.#started);
    this.#acks = new Acks(session, this.#id, (count, lost) => this.#answered(count, lost));
    session.listen(this.#id, () => events.ready());
  }

  /** Messages that wait here: take() gives them without asking the engine. */
  get ahead(): number {
    return this.#left;
  }

  /** Messages that somebody got, or that wait here, and that are not settled. */
  get outstanding(): number {
    return this.#taken - this.#expired;
  }

  /** The next message, taking up to `prefetch` ahead; undefined: `ready` will be called. */
  take(prefetch: number): Message<T> | undefined {
    if (this.#left > 0 && this.#takenIn !== turn.number) this.#dropStale();
    if (this.#left === 0 && !this.#takeAhead(prefetch)) return undefined;
    const message = new Message<T>(this.#slab, this.#at, this);
    this.#step();
    // A consumer that waits must not keep the memory of what it had.
    if (this.#left === 0) this.#slab = NOTHING;
    return message;
  }

  #step(): void {
    this.#at += this.#slab.bytesAt(this.#at);
    this.#left--;
    this.#started[0] = (this.#started[0] as number) + 1;
  }

  #takeAhead(prefetch: number): boolean {
    if (!this.#open) return false;
    this.#acks.flush();
    const { inbox, confirming } = this.#session;
    let room = prefetch - this.outstanding;
    if (room <= 0) {
      this.#countLater();
      return false;
    }
    if (confirming) room = Math.min(room, BESIDE_WAIT_MAX);
    const count = inbox.receive(this.#id, room, this.#damaged);
    if (count === 0) return false;
    this.#slab = inbox.slab;
    this.#at = inbox.first;
    this.#left = count;
    this.#taken += count;
    this.#aheadMsMax = inbox.leaseMs / 2;
    if (confirming) turn.countBesideWait(count);
    if (count > 1) this.#watchAhead();
    return true;
  }

  /** A damaged message was a delivery of this consumer too. */
  readonly #damaged = (error: Error): boolean => {
    this.#started[0] = (this.#started[0] as number) + 1;
    return this.#events.damaged(error);
  };

  /** What was taken and left to its visibility timeout makes room without a word: one has to look. */
  #countLater(): void {
    this.#cancelCount ??= after(Math.max(LEASE_LOOK_MS_MIN, this.#aheadMsMax), this.#count);
  }

  readonly #count = (): void => {
    this.#cancelCount = undefined;
    if (this.#session.ended !== undefined) return;
    this.#expired = Math.max(0, this.#taken - this.#session.native.leases(this.#id));
    this.#events.settled?.();
    if (this.#open) this.#events.ready();
    else if (this.outstanding > 0) this.#countLater();
  };

  #watchAhead(): void {
    this.#takenAtMs = nowMs();
    this.#takenIn = turn.number;
    this.#cancelAhead ??= after(this.#aheadMsMax, this.#onAheadTimer);
  }

  readonly #onAheadTimer = (): void => {
    this.#cancelAhead = undefined;
    this.#dropStale();
    if (this.#left === 0) return;
    const left = this.#aheadMsMax - (nowMs() - this.#takenAtMs);
    this.#cancelAhead = after(Math.max(1, left), this.#onAheadTimer);
  };

  #dropStale(): void {
    this.#takenIn = turn.number;
    if (nowMs() - this.#takenAtMs >= this.#aheadMsMax) this.#giveBack();
  }

  /** Releases what nobody saw: it goes back to the queue and does not count as delivered. */
  #giveBack(): void {
    const given = this.#left;
    let lost = 0;
    while (this.#left > 0) {
      const seq = this.#slab.seqAt(this.#at);
      const deliveryCount = this.#slab.deliveryCountAt(this.#at);
      this.#step();
      if (this.#session.ended !== undefined) continue;
      try {
        this.#session.native.answer(this.#id, verbs.release, seq, deliveryCount, 0, "");
      } catch (error) {
        // Otherwise the broker has ended, and with it every lease.
        if (error instanceof MillraceError && error.code === "LEASE_LOST") lost++;
      }
    }
    this.#slab = NOTHING;
    if (given > 0) this.#answered(given, lost);
  }

  ack(seq: number, deliveryCount: number): Promise<void> {
    return this.#acks.add(seq, deliveryCount);
  }

  /** ack() for callers that do not want to know, and that call settle() before they let go. */
  ackQuietly(seq: number, deliveryCount: number): void {
    this.#acks.addQuietly(seq, deliveryCount);
  }

  /** What was acked crosses now. */
  settle(): void {
    this.#acks.flush();
  }

  answer(verb: number, seq: number, deliveryCount: number, ms: number, reason: string): Promise<void> {
    ensureStack();
    // Acks that were said before this must reach the engine before it.
    this.#acks.flush();
    let result: Promise<void>;
    let lost = false;
    try {
      const unit = this.#session.native.answer(this.#id, verb, seq, deliveryCount, ms, reason);
      // A dead message that waits for room in its dead-letter queue is done when it is there; it is not lost.
      result = unit < 0 ? this.#session.buried(this.#queue, seq) : this.#session.committed(unit);
    } catch (error) {
      lost = error instanceof MillraceError && error.code === "LEASE_LOST";
      result = refused(error as Error);
    }
    if (verb !== verbs.extend) this.#answered(1, lost ? 1 : 0);
    return unlooked(result);
  }

  #answered(count: number, lost: number): void {
    this.#taken -= count;
    this.#expired = Math.max(0, this.#expired - lost);
    this.#events.settled?.();
  }

  /** Takes nothing more and gives back what nobody saw. What somebody has stays leased. */
  stop(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#cancelAhead?.();
    this.#giveBack();
    this.#acks.flush();
    if (this.#session.ended === undefined) this.#session.native.stopConsumer(this.#id);
  }

  /** After stop(): `settled` is called too when leases have ended by themselves. */
  watchLeases(): void {
    this.#countLater();
  }

  /** Forgets the consumer. What somebody still has goes back, and that is no failure of the message. */
  close(): void {
    this.stop();
    this.#acks.flush();
    this.#cancelCount?.();
    // None of them counts: see H1.
    this.#started[0] = 0;
    this.#session.unlisten(this.#id);
    if (this.#session.ended === undefined) this.#session.native.closeConsumer(this.#id);
  }
}
