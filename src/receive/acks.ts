/**
 * The acks of one consumer on their way into the engine. They cross together, because a crossing costs more than a fast
 * delivery, and most of them are awaited by nobody: such an ack makes no promise, no closure and no microtask.
 *
 * A1 Acks cross in the order in which they were said, before anything else that their consumer says or takes.
 * A2 Where nothing else makes them cross they do so a few promise jobs later when somebody waits for one of them, in the
 *    next turn when nobody does.
 * A3 Only acks that somebody waits for when they cross are committed in haste.
 * A4 What became of an ack is known for each from the crossing on, whenever it is asked for.
 */
import { nextTurn } from "../engine/loop.js";
import type { Session } from "../engine/session.js";
import { ensureStack } from "../engine/stack.js";
import { MillraceError } from "../errors.js";

const ACKS_AT_ONCE = 1024;
const ACKS_MIN = 16;

interface Waiter {
  readonly at: number;
  resolve(): void;
  reject(error: Error): void;
}

/** The functions of the promise that was made last. */
let resolveNewest: (() => void) | undefined;
let rejectNewest: ((error: Error) => void) | undefined;
const keepFunctions = (resolve: () => void, reject: (error: Error) => void): void => {
  resolveNewest = resolve;
  rejectNewest = reject;
};

/** A promise that may be left alone: its rejection is nobody's fault then. */
export function unlooked<P extends Promise<unknown>>(promise: P): P {
  promise.catch(() => {});
  return promise;
}

export function leaseLost(): MillraceError {
  return new MillraceError("LEASE_LOST", "this delivery is no longer leased to this consumer");
}

export function refused(error: Error): Promise<void> {
  return unlooked(Promise.reject(error));
}

/** What crosses together. */
class Crossing {
  readonly #acks: Acks;
  /** Who waits; undefined once it has crossed. */
  #waiters: Waiter[] | undefined = [];
  #unit = 0;
  #lost: ReadonlySet<number> | undefined;
  #error: Error | undefined;
  #committed: Promise<void> | undefined;

  constructor(acks: Acks) {
    this.#acks = acks;
  }

  get awaited(): boolean {
    return this.#waiters !== undefined && this.#waiters.length > 0;
  }

  /** What became of its ack number `at`. */
  outcome(at: number): Promise<void> {
    if (this.#waiters !== undefined) {
      this.#acks.soon();
      rejectNewest = undefined;
      const promise = new Promise<void>(keepFunctions);
      // A promise that has too little stack for its executor is rejected, and hangs on nothing.
      if (resolveNewest !== undefined && rejectNewest !== undefined) {
        this.#waiters.push({ at, resolve: resolveNewest, reject: rejectNewest });
      }
      return promise;
    }
    if (this.#error !== undefined) return refused(this.#error);
    if (this.#lost?.has(at)) return refused(leaseLost());
    this.#committed ??= unlooked(this.#acks.session.committedAfterAll(this.#unit));
    return this.#committed;
  }

  crossed(unit: number, lost: ReadonlySet<number> | undefined): void {
    const waiters = this.#waiters ?? [];
    this.#waiters = undefined;
    this.#unit = unit;
    this.#lost = lost;
    const kept: Waiter[] = lost === undefined ? waiters : [];
    if (lost !== undefined) {
      for (const waiter of waiters) {
        if (lost.has(waiter.at)) waiter.reject(leaseLost());
        else kept.push(waiter);
      }
    }
    if (kept.length === 0) {
      this.#acks.session.noteUnawaited(unit);
      return;
    }
    const confirm = (): void => {
      for (const waiter of kept) waiter.resolve();
    };
    const fail = (error: Error): void => {
      for (const waiter of kept) waiter.reject(error);
    };
    if (unit === 0) confirm();
    else this.#acks.session.wait({ unit, promises: kept.length, confirm, fail });
  }

  failed(error: Error): void {
    const waiters = this.#waiters ?? [];
    this.#waiters = undefined;
    this.#error = error;
    for (const waiter of waiters) waiter.reject(error);
  }
}

type Fulfilled = Parameters<Promise<void>["then"]>[0];
type Rejected = Parameters<Promise<void>["then"]>[1];

/** The promise of an ack, made when somebody looks at it. */
class Acked {
  readonly #crossing: Crossing;
  readonly #at: number;

  constructor(crossing: Crossing, at: number) {
    this.#crossing = crossing;
    this.#at = at;
  }

  // biome-ignore lint/suspicious/noThenProperty: it stands for a promise.
  then(fulfilled?: Fulfilled, rejected?: Rejected): Promise<unknown> {
    return this.#crossing.outcome(this.#at).then(fulfilled, rejected);
  }

  catch(rejected?: Rejected): Promise<unknown> {
    return this.#crossing.outcome(this.#at).catch(rejected);
  }

  finally(settled?: (() => void) | null): Promise<void> {
    return this.#crossing.outcome(this.#at).finally(settled);
  }

  get [Symbol.toStringTag](): string {
    return "Promise";
  }
}
// For those who ask with instanceof.
Object.setPrototypeOf(Acked.prototype, Promise.prototype);

export class Acks {
  readonly session: Session;
  readonly #consumer: number;
  /** After a crossing: how many there were, and how many of them had lost their lease. */
  readonly #onCrossed: (count: number, lost: number) => void;
  #seqs = new Float64Array(ACKS_MIN);
  #counts = new Uint32Array(ACKS_MIN);
  #lost = new Uint8Array(ACKS_MIN);
  #size = 0;
  /** Of those whose promise somebody has. */
  #crossing: Crossing | undefined;
  #jobs = false;
  #turn = false;

  constructor(session: Session, consumer: number, onCrossed: (count: number, lost: number) => void) {
    this.session = session;
    this.#consumer = consumer;
    this.#onCrossed = onCrossed;
  }

  add(seq: number, deliveryCount: number): Promise<void> {
    if (this.session.ended !== undefined) return refused(this.session.ended);
    // Whatever may throw comes before the first change (see stack.ts).
    if (this.#size === this.#seqs.length) this.#makeRoom();
    if (!this.#turn) this.soon();
    this.#crossing ??= new Crossing(this);
    const acked = new Acked(this.#crossing, this.#size);
    this.#seqs[this.#size] = seq;
    this.#counts[this.#size] = deliveryCount;
    this.#size++;
    return acked as unknown as Promise<void>;
  }

  /** add() for callers that do not want to know, and that see to it that it crosses. */
  addQuietly(seq: number, deliveryCount: number): void {
    if (this.session.ended !== undefined) return;
    if (this.#size === this.#seqs.length) this.#makeRoom();
    this.#seqs[this.#size] = seq;
    this.#counts[this.#size] = deliveryCount;
    this.#size++;
  }

  /** For one more. */
  #makeRoom(): void {
    ensureStack();
    const size = this.#size * 2;
    if (size > ACKS_AT_ONCE) {
      this.flush();
      if (this.#size < this.#seqs.length) return;
    }
    const seqs = new Float64Array(size);
    const counts = new Uint32Array(size);
    this.#lost = new Uint8Array(size);
    seqs.set(this.#seqs);
    counts.set(this.#counts);
    this.#seqs = seqs;
    this.#counts = counts;
  }

  /** Sees to it that what was said crosses: see A2. */
  soon(): void {
    if (this.#jobs) return;
    ensureStack();
    void this.#afterJobs();
    this.#jobs = true;
  }

  async #afterJobs(): Promise<void> {
    // The first `await` of an ack gets its say in the job between these two.
    await undefined;
    await undefined;
    this.#jobs = false;
    if (this.#size === 0) return;
    if (this.#crossing?.awaited) this.flush();
    else this.#crossAtTurn();
  }

  #crossAtTurn(): void {
    if (this.#turn) return;
    nextTurn(this.#flushAtTurn);
    this.#turn = true;
  }

  readonly #flushAtTurn = (): void => {
    this.#turn = false;
    this.flush();
  };

  /** Sends them across. */
  flush(): void {
    const size = this.#size;
    if (size === 0) return;
    const crossing = this.#crossing;
    const awaited = crossing?.awaited === true;
    let unit = 0;
    try {
      unit = this.session.native.ack(this.#consumer, this.#seqs, this.#counts, this.#lost, size, awaited);
    } catch (error) {
      // The call itself failed, for want of stack: they cross with the next try.
      if (!(error instanceof MillraceError)) {
        this.soon();
        return;
      }
      this.#size = 0;
      this.#crossing = undefined;
      crossing?.failed(error);
      return;
    }
    this.#size = 0;
    this.#crossing = undefined;
    let lost: Set<number> | undefined;
    for (let at = 0; at < size; at++) {
      if (this.#lost[at] !== 0) {
        lost ??= new Set();
        lost.add(at);
      }
    }
    crossing?.crossed(unit, lost);
    this.#onCrossed(size, lost?.size ?? 0);
  }
}
