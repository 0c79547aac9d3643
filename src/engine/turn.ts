/**
 * The event loop's turn. Deliveries that wait for nothing slower than each other would keep timers, I/O and signals
 * waiting until the backlog is empty; so whoever delivers gives way after 10 ms, and goes on in the next turn.
 *
 * T1 At any time a native thread watches the time (for 10 ms since the last arm()) or `turn.over` is set. Where the
 *    system has no thread to give, nobody watches until a later turn gets one.
 * T2 Whoever delivers looks at `turn.over` before each message; where it is set, he goes on from rest().
 * T3 Those who rest go on in their order, after timers and I/O, as far as the 10 ms of that turn reach; then the others
 *    are the first of the next one.
 */
import { binding } from "./binding.js";
import { nextTurn, onWake } from "./loop.js";

/** Half of it leaves less for deliveries than senders bring; with 1,024 senders wait twice as long. */
export const BESIDE_WAIT_MAX = 512;

const { over, arm } = binding.openTurn();
/** As if the time of an earlier turn were over: nobody watches yet. */
over[0] = 1;
/** What was handed out in this turn while somebody waited for what only another one brings. */
let besideWaits = 0;

const resting: Array<() => void> = [];
let requested = false;
/** False: there was no thread that could watch. Deliveries go on, and each turn asks again. */
let watched = true;

class Turn {
  /** Rises with each turn in which something was delivered. */
  number = 0;

  /** True: deliveries have had their time, others are next. */
  get over(): boolean {
    return besideWaits >= BESIDE_WAIT_MAX || over[0] !== 0;
  }

  /** Messages are handed out while somebody in this thread waits for a confirmation: after some hundreds it is his turn. */
  countBesideWait(messages: number): void {
    besideWaits += messages;
  }
}

export const turn = new Turn();

/** The loop comes from elsewhere: deliveries have their time again. */
function beginTurn(): void {
  if (besideWaits >= BESIDE_WAIT_MAX) turn.number++;
  besideWaits = 0;
  // A watch that has time left goes on: it ends this turn a little sooner.
  if (over[0] === 0 && watched) return;
  over[0] = 0;
  turn.number++;
  watched = arm();
}

// Before any session hears of it: the order of listeners is that of their registration.
onWake(beginTurn);

/** `resume` is called in a later turn, when deliveries have time again. */
export function rest(resume: () => void): void {
  if (!requested) nextTurn(goOn);
  requested = true;
  resting.push(resume);
}

function goOn(): void {
  requested = false;
  beginTurn();
  // Those that rest again stand behind those that have not had their turn yet.
  for (let left = resting.length; left > 0 && !turn.over; left--) (resting.shift() as () => void)();
  if (resting.length === 0 || requested) return;
  nextTurn(goOn);
  requested = true;
}
