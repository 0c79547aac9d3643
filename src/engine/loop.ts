/**
 * This copy of our JavaScript on the event loop of its thread: who wakes it, what it asks of the loop, and what time it
 * is. User code may replace every timer, date and microtask source that JavaScript has (a test runner's fake clock does),
 * before this is imported or at any time later. So nothing here or above uses one of them: turns, timers and the clock
 * are native, and what follows "as soon as this is over" is a promise job.
 */
import { errorOf } from "../errors.js";
import { binding, type NativePort } from "./binding.js";

/** Milliseconds since some moment, with a fraction, of the clock that leases use. */
export const nowMs: () => number = binding.now;

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

let turns: (() => void)[] = [];
let turnRequested = false;

/** Calls `job` once the event loop had a turn: timers, I/O and signals go first. Until then it keeps the loop alive. */
export function nextTurn(job: () => void): void {
  turns.push(job);
  if (turnRequested) return;
  port.requestTurn();
  turnRequested = true;
}

/** True: there are jobs for another turn. */
function onTurn(): boolean {
  const jobs = turns;
  turns = [];
  let done = 0;
  try {
    for (const job of jobs) {
      done++;
      job();
    }
  } finally {
    // A job that threw takes none of the others along.
    if (done < jobs.length) turns = [...jobs.slice(done), ...turns];
  }
  turnRequested = turns.length > 0;
  return turnRequested;
}

const timers = new Map<number, () => void>();

/**
 * Calls `job` after `ms` milliseconds, never sooner, unless the returned function was called. It keeps no event loop
 * alive: use `holdLoop`.
 */
export function after(ms: number, job: () => void): () => void {
  const id = port.startTimer(ms);
  timers.set(id, job);
  return () => {
    if (timers.delete(id)) port.stopTimer(id);
  };
}

function onTimer(id: number): void {
  const job = timers.get(id);
  timers.delete(id);
  job?.();
}

/** Calls `job` when what runs now is over: a promise job. */
export async function soon(job: () => void): Promise<void> {
  await undefined;
  try {
    job();
  } catch (error) {
    throwLater(error);
  }
}

/** An uncaught exception, as from any callback, but not in the middle of what is going on. */
export function throwLater(error: unknown): void {
  nextTurn(() => {
    throw error;
  });
}

let holders = 0;

/** Keeps this thread's event loop alive until the returned function was called (once or more). */
export function holdLoop(): () => void {
  if (holders === 0) port.setReferenced(true);
  holders++;
  let held = true;
  return () => {
    if (!held) return;
    if (holders === 1) port.setReferenced(false);
    holders--;
    held = false;
  };
}

/** Native code's side of this copy. Another copy in the same thread has another one. */
export const port: NativePort = binding.connect({
  makeError: errorOf,
  wake: tellWake,
  turn: onTurn,
  timer: onTimer,
});
