/**
 * Waiting for native threads. A sleeping thread that is woken goes on 20 to 50 us later, half of what a commit takes, and
 * the one that wakes it pays 7 us. So where waits have lately been short, turns of the event loop look for the news
 * instead of sleeping, for a bounded time; timers and other events go on meanwhile, and an idle thread always sleeps.
 */
import { nextTurn, nowMs, port, tellWake } from "./loop.js";

let watching = false;
let until = 0;

function watchUntil(ms: number): void {
  if (ms > until) until = ms;
  if (watching) return;
  // Whatever may throw comes first: who watches without looking hears of nothing any more.
  nextTurn(look);
  port.setWatching(true);
  watching = true;
}

function look(): void {
  let found = port.look();
  // What is found starts new waits, which watch anew if they like.
  if (found) until = 0;
  if (found || nowMs() > until) {
    watching = false;
    port.setWatching(false);
    // What was marked until now has woken nobody.
    if (port.look()) found = true;
  } else {
    nextTurn(look);
  }
  if (found) tellWake();
}

/** Waits of one kind: watches while their mean is below `msMax`. */
export class Patience {
  readonly #msMax: number;
  #mean = 0;
  #since = -1;

  constructor(msMax: number) {
    this.#msMax = msMax;
  }

  /** Somebody waits from now on, if nobody did. */
  start(): void {
    const now = nowMs();
    if (this.#since < 0) this.#since = now;
    if (this.#mean < this.#msMax) watchUntil(now + this.#msMax);
  }

  /** What the first of them waited for has come. */
  stop(): void {
    if (this.#since < 0) return;
    const waited = Math.min(nowMs() - this.#since, 4 * this.#msMax);
    this.#mean = (3 * this.#mean + waited) / 4;
    this.#since = -1;
  }
}
