/**
 * One thread's door to one broker: the twin of the native class `Session`, and everything that waits for it.
 *
 * What is staged in the log has a unit number; units become durable in order, so one number (`committed through`)
 * answers every promise up to it, and one wake-up of this thread resolves them all.
 */
import { MillraceError } from "../errors.js";
import type { BrokerHandle, NativeLimits, NativeSession } from "./binding.js";
import { Burials } from "./burials.js";
import type { Confirmation } from "./confirmation.js";
import { Inbox } from "./inbox.js";
import { after, holdLoop, onWake, port } from "./loop.js";
import { Outbox } from "./outbox.js";
import { turn } from "./turn.js";
import { Patience } from "./watch.js";

export interface OpenSettings {
  dir: string;
  sync: boolean;
  segmentBytes: number;
  checkpointBytes: number;
  messageBytes: number;
}

const WOKEN_AT_ONCE = 256;
const STATE_OPEN = 0;
const STATE_CLOSED = 1;

/** Longer commits are slept through. */
const COMMIT_MS_MAX = 0.4;
/** With more promises than this a wake-up costs each of them little, and others have better use for the core. */
const WATCHED_MAX = 64;

export class Session {
  readonly native: NativeSession;
  readonly limits: NativeLimits;
  readonly outbox: Outbox;
  readonly inbox: Inbox;

  readonly #state = new Float64Array(2 + WOKEN_AT_ONCE);
  readonly #waiting: Confirmation[] = [];
  #firstWaiting = 0;
  /** The newest unit of an ack that nobody waited for when it was staged. */
  #unawaited = 0;
  readonly #receivers = new Map<number, () => void>();
  #roomWaiters: Array<() => void> = [];
  readonly #burials: Burials;
  readonly #closeListeners = new Set<(error: Error) => void>();
  readonly #stopListening: () => void;
  #release: (() => void) | undefined;
  readonly #patience = new Patience(COMMIT_MS_MAX);
  #awaited = 0;
  /** The turn in which something was confirmed last. */
  #confirmedIn = -1;
  #ended: Error | undefined;

  private constructor(native: NativeSession) {
    this.native = native;
    this.limits = native.limits();
    this.outbox = new Outbox(this);
    this.inbox = new Inbox(native);
    this.#burials = new Burials((queue, seq) => native.burial(queue, seq));
    this.#stopListening = onWake(() => this.poll());
  }

  static async open(settings: OpenSettings): Promise<Session> {
    const release = holdLoop();
    try {
      const { dir, sync, segmentBytes, checkpointBytes, messageBytes } = settings;
      return new Session(await port.open(dir, sync, segmentBytes, checkpointBytes, messageBytes));
    } finally {
      release();
    }
  }

  static attach(handle: BrokerHandle): Session {
    return new Session(port.attach(handle.broker, handle.token));
  }

  /** Somebody in this thread waits for a confirmation, or had one in this turn and goes on when the turn is over. */
  get confirming(): boolean {
    return this.#firstWaiting < this.#waiting.length || this.#confirmedIn === turn.number;
  }

  /** Why nothing works any more: CLOSED or STORE_FAILED; undefined while open. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  /** Calls back when `confirmation.unit` is durable. Units must be added in rising order. */
  wait(confirmation: Confirmation): void {
    if (this.#ended !== undefined) {
      confirmation.fail(this.#ended);
      return;
    }
    this.#waiting.push(confirmation);
    this.#awaited += confirmation.promises;
    this.#hold();
    if (this.#awaited <= WATCHED_MAX) this.#patience.start();
  }

  /** A promise for wait(). */
  committed(unit: number): Promise<void> {
    if (unit === 0) return Promise.resolve();
    return new Promise((resolve, reject) => this.wait({ unit, promises: 1, confirm: resolve, fail: reject }));
  }

  /** Somebody may still ask what became of this unit, with committedAfterAll(). */
  noteUnawaited(unit: number): void {
    this.#unawaited = Math.max(this.#unawaited, unit);
  }

  /** A promise for a unit that was staged some time ago, when nobody waited for it. */
  committedAfterAll(unit: number): Promise<void> {
    if (unit === 0 || unit <= (this.#state[0] as number)) return Promise.resolve();
    if (this.#ended === undefined) this.native.hurry(unit);
    // Units are waited for in rising order; what is waited for already is durable after this one.
    return this.committed(Math.max(unit, this.#waiting.at(-1)?.unit ?? 0));
  }

  /** Resolves when this message, which is dead and waits for room in its dead-letter queue, has moved there for good. */
  async buried(queue: number, seq: number): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    await this.committed(await this.#burials.add(queue, seq));
  }

  /** Resolves when a send that found no room is worth another try. */
  room(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#ended !== undefined) resolve();
      else this.#roomWaiters.push(resolve);
      this.#hold();
    });
  }

  /**
   * Waits, for at most `timeout` ms, until what was sent and settled here is confirmed, asked for or not: after the end
   * nobody hears of it any more.
   */
  async drain(timeout: number): Promise<void> {
    let late = false;
    let giveUp = (): void => {};
    const deadline = new Promise<void>((resolve) => {
      giveUp = resolve;
    });
    const cancel = after(timeout, () => {
      late = true;
      giveUp();
    });
    this.outbox.flush();
    while (this.outbox.unstaged && this.#ended === undefined && !late) {
      await Promise.race([this.room(), deadline]);
    }
    const last = Math.max(this.#waiting.at(-1)?.unit ?? 0, this.#unawaited);
    if (!late) await Promise.race([this.committedAfterAll(last).catch(() => {}), deadline]);
    cancel();
  }

  /** `ready` is called when the consumer, having found nothing, should look again. */
  listen(consumer: number, ready: () => void): void {
    this.#receivers.set(consumer, ready);
  }

  unlisten(consumer: number): void {
    this.#receivers.delete(consumer);
  }

  /** `listener` is called once, when the broker ends for this thread. */
  onEnd(listener: (error: Error) => void): () => void {
    this.#closeListeners.add(listener);
    return () => this.#closeListeners.delete(listener);
  }

  /** Looks at what the engine has to say. Runs when a native thread woke this one. */
  poll(): void {
    if (this.#ended !== undefined) return;
    let woken: number;
    do {
      woken = this.native.poll(this.#state);
      const through = this.#state[0] as number;
      while (this.#firstWaiting < this.#waiting.length) {
        const head = this.#waiting[this.#firstWaiting] as Confirmation;
        if (head.unit > through) break;
        this.#firstWaiting++;
        this.#awaited -= head.promises;
        this.#confirmedIn = turn.number;
        this.#patience.stop();
        head.confirm();
      }
      this.#compact();
      // A consumer that looked now would only throw.
      if (this.#state[1] !== STATE_OPEN) break;
      for (let i = 0; i < woken; i++) this.#receivers.get(this.#state[2 + i] as number)?.();
    } while (woken === WOKEN_AT_ONCE);
    if (this.#state[1] !== STATE_OPEN) {
      const failed = this.#state[1] !== STATE_CLOSED;
      this.end(failed ? this.native.failure() : new MillraceError("CLOSED", "the broker is closed"));
      return;
    }
    this.#tellRoom();
    if (!this.#busy()) this.#unhold();
  }

  /** Rejects everything that waits, tells the consumers and lets the loop go. */
  end(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    const waiting = this.#waiting.splice(0).slice(this.#firstWaiting);
    this.#firstWaiting = 0;
    for (const confirmation of waiting) confirmation.fail(error);
    this.outbox.end(error);
    this.#burials.end(error);
    this.#tellRoom();
    for (const listener of [...this.#closeListeners]) listener(error);
    this.#unhold();
    this.#stopListening();
  }

  /** Gives this thread's leases back and forgets the broker, which ends if nobody else has it; resolves then. */
  async detach(): Promise<void> {
    this.end(new MillraceError("CLOSED", "the broker is closed"));
    await this.native.detach();
  }

  #tellRoom(): void {
    if (this.#roomWaiters.length === 0) {
      if (this.outbox.stalled) this.outbox.retry();
      return;
    }
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    if (this.outbox.stalled) this.outbox.retry();
    for (const resolve of waiters) resolve();
  }

  #busy(): boolean {
    return this.#waiting.length > 0 || this.#roomWaiters.length > 0 || this.outbox.stalled;
  }

  #hold(): void {
    this.#release ??= holdLoop();
  }

  #unhold(): void {
    this.#release?.();
    this.#release = undefined;
  }

  #compact(): void {
    if (this.#firstWaiting === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#firstWaiting = 0;
    } else if (this.#firstWaiting > 1024) {
      this.#waiting.splice(0, this.#firstWaiting);
      this.#firstWaiting = 0;
    }
  }
}
