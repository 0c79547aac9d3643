import { abortReason, onAbort } from "../signals.js";
import type { NativeRing } from "./binding.js";
import { binding } from "./binding.js";
import { after, holdLoop, nextTurn, nowMs } from "./loop.js";
import { ensureStack } from "./stack.js";

const { RETRY, SOON } = binding.Ring;

/** One native look at the ring: half a microsecond to a microsecond of pauses. */
const SPINS = 24;
/**
 * A long look, of 5 us or so: longer than a turn of the event loop. Two threads that answer each other from turns of
 * their loops need 11 us a round trip and never leave that rhythm by themselves, because a short look of one always
 * falls into a turn of the other; one long look brings both to 1 us. Where both share a core it finds nothing, so it
 * is taken the more rarely the more often it failed.
 */
const LONG_SPINS = 200;
const WAITS_PER_LONG_LOOK_MAX = 64;
/** How long the event loop is polled before sleeping: a few times what being woken costs (20 to 50 us). */
const POLL_MS = 0.1;
/** After so many results without a turn of the event loop it gets one: a stream of messages starves no timer. */
const IN_A_ROW_MAX = 256;
/** Another thread is in the middle of a call and was preempted there. */
const SOON_MS = 1;
/** A thread terminated between its push and its notify wakes nobody: sleepers look again this often. */
const LOOK_AGAIN_MS = 250;

interface Waiter {
  /** Tries the operation; true once it settled the promise. */
  attempt(): boolean;
  reject(reason: unknown): void;
}

/**
 * Those of this thread who wait for one side of one ring, first come first served: spin, then poll the event loop,
 * then sleep in `Atomics.waitAsync` (native/ring/PROTOCOL.md, "Waiting and waking"). The event loop is held open only
 * while somebody waits, and is never blocked.
 */
export class RingWaiting {
  readonly #native: NativeRing;
  readonly #words: Int32Array;
  readonly #index: number;
  readonly #side: number;
  readonly #waiters: Waiter[] = [];
  #running = false;
  #sleepingOn: number | undefined;
  // At most one of these two is due, so that there is one chain of looks however often waiting stops and starts.
  #turnIsDue = false;
  #cancelLook: (() => void) | undefined;
  /** `waitAsync` alone does not keep the event loop alive. */
  #letGo: (() => void) | undefined;
  #pollUntil = 0;
  #inARow = 0;
  /** The last wait was over before this thread slept. */
  #brisk = false;
  #waitsPerLongLook = 1;
  #waitsToLongLook = 1;

  constructor(native: NativeRing, words: Int32Array, index: number, side: number) {
    this.#native = native;
    this.#words = words;
    this.#index = index;
    this.#side = side;
  }

  /** What `attempt` returns now or within a short spin; undefined if one has to `wait`, perhaps behind others. */
  tryNow<T>(attempt: () => T | undefined): T | undefined {
    if (this.#waiters.length > 0 || this.#inARow >= IN_A_ROW_MAX) return undefined;
    let value = attempt();
    if (value === undefined && this.#look()) value = attempt();
    if (value !== undefined) this.#inARow += 1;
    return value;
  }

  /** True: there may be something. */
  #look(): boolean {
    if (this.#native.spin(this.#side, SPINS, false)) return true;
    if (!this.#brisk || --this.#waitsToLongLook > 0) return false;
    const found = this.#native.spin(this.#side, LONG_SPINS, false);
    this.#waitsPerLongLook = found ? 1 : Math.min(2 * this.#waitsPerLongLook, WAITS_PER_LONG_LOOK_MAX);
    this.#waitsToLongLook = this.#waitsPerLongLook;
    return found;
  }

  /**
   * Resolves with what `attempt` returns once that is not undefined; rejects with what it throws, or with the
   * signal's reason.
   */
  wait<T>(attempt: () => T | undefined, signal?: AbortSignal): Promise<T> {
    ensureStack();
    return new Promise<T>((resolve, reject) => {
      let stopWatching = (): void => {};
      const waiter: Waiter = {
        attempt: () => {
          let value: T | undefined;
          try {
            value = attempt();
          } catch (error) {
            waiter.reject(error);
            return true;
          }
          if (value === undefined) return false;
          stopWatching();
          resolve(value);
          return true;
        },
        reject: (reason) => {
          stopWatching();
          reject(reason);
        },
      };
      if (signal !== undefined) {
        stopWatching = onAbort(signal, () => {
          this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
          waiter.reject(abortReason(signal));
          if (this.#waiters.length === 0) this.#stop();
        });
      }
      this.#waiters.push(waiter);
      if (!this.#running) this.#start();
    });
  }

  /** Wakes the sleepers of every thread, after the ring's word was moved on. */
  notify(): void {
    Atomics.notify(this.#words, this.#index);
  }

  #start(): void {
    this.#running = true;
    this.#brisk = true;
    this.#poll();
  }

  #poll(): void {
    this.#pollUntil = nowMs() + POLL_MS;
    this.#lookNextTurn();
  }

  #lookNextTurn(): void {
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    nextTurn(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#turnIsDue = false;
    this.#inARow = 0;
    if (!this.#running) return;
    if (this.#serve()) return;
    // The other thread may need this core to do what is waited for.
    if (this.#native.spin(this.#side, SPINS, true) && this.#serve()) return;
    if (nowMs() < this.#pollUntil) this.#lookNextTurn();
    else this.#sleep();
  };

  readonly #onTimer = (): void => {
    this.#cancelLook = undefined;
    if (!this.#running || this.#serve()) return;
    this.#sleep();
  };

  readonly #onNotified = (): void => {
    this.#sleepingOn = undefined;
    if (!this.#running) return;
    this.#wakeUp();
    if (!this.#serve()) this.#poll();
  };

  /** Settles waiters in order as far as the ring allows. True when nobody is left. */
  #serve(): boolean {
    let served = false;
    for (let head = this.#waiters[0]; head !== undefined; head = this.#waiters[0]) {
      if (!head.attempt()) break;
      this.#waiters.shift();
      served = true;
    }
    if (this.#waiters.length === 0) {
      this.#stop();
      return true;
    }
    if (served) this.#pollUntil = nowMs() + POLL_MS;
    return false;
  }

  #sleep(): void {
    this.#brisk = false;
    let word = this.#native.prepareWait(this.#side);
    if (word === RETRY) {
      if (this.#serve()) return;
      word = SOON;
    }
    this.#cancelLook?.();
    this.#cancelLook = after(word === SOON ? SOON_MS : LOOK_AGAIN_MS, this.#onTimer);
    this.#letGo ??= holdLoop();
    if (word === SOON || word === this.#sleepingOn) return;
    const sleep = Atomics.waitAsync(this.#words, this.#index, word | 0);
    if (!sleep.async) {
      this.#wakeUp();
      this.#poll();
      return;
    }
    this.#sleepingOn = word;
    sleep.value.then(this.#onNotified);
  }

  #wakeUp(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    this.#letGo?.();
    this.#letGo = undefined;
  }

  #stop(): void {
    this.#running = false;
    this.#wakeUp();
    // A `waitAsync` cannot be taken back and would keep the ring in memory: end it, with everybody else's, who look
    // again and go back to sleep.
    if (this.#sleepingOn === undefined) return;
    this.#native.release(this.#side);
    this.notify();
  }
}
