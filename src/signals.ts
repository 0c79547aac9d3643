/** Abort signals: those that we are given, and those that we hand out. */
import { setMaxListeners } from "node:events";
import { throwLater } from "./engine/loop.js";
import { invalidArgument } from "./errors.js";

/**
 * What Node's own functions take as a signal: anything that says whether it has aborted. One of another realm (a test
 * runner's) or of a polyfill is no instance of this realm's class.
 */
export function abortSignal(value: unknown, name: string): AbortSignal {
  try {
    if (typeof value === "object" && value !== null && "aborted" in value) {
      const signal = value as AbortSignal;
      if (signal.aborted || typeof signal.addEventListener === "function") return signal;
    }
  } catch (cause) {
    throw invalidArgument(`${name} cannot be read`, { cause });
  }
  throw invalidArgument(`${name} must be an AbortSignal`);
}

/** Why it has aborted. Older polyfills do not say. */
export function abortReason(signal: AbortSignal): unknown {
  return signal.reason ?? new DOMException("This operation was aborted", "AbortError");
}

interface Watched {
  readonly jobs: Set<{ readonly job: () => void }>;
  readonly listener: () => void;
}

const watched = new WeakMap<AbortSignal, Watched>();

/**
 * Calls `job` when `signal` aborts, unless the returned function was called. However many loops and waits share a signal,
 * it has one listener of ours: Node.js warns of a leak at the eleventh.
 */
export function onAbort(signal: AbortSignal, job: () => void): () => void {
  let watch = watched.get(signal);
  if (watch === undefined) {
    watch = startWatching(signal);
    watched.set(signal, watch);
  }
  const { jobs, listener } = watch;
  const entry = { job };
  jobs.add(entry);
  return () => {
    if (!jobs.delete(entry) || jobs.size > 0) return;
    watched.delete(signal);
    signal.removeEventListener("abort", listener);
  };
}

function startWatching(signal: AbortSignal): Watched {
  const jobs: Watched["jobs"] = new Set();
  const listener = (): void => {
    watched.delete(signal);
    const due = [...jobs];
    jobs.clear();
    for (const { job } of due) {
      try {
        job();
      } catch (error) {
        throwLater(error);
      }
    }
  };
  signal.addEventListener("abort", listener, { once: true });
  return { jobs, listener };
}

/** A controller whose signal any number of handlers may listen to without a warning. */
export function sharedController(): AbortController {
  const controller = new AbortController();
  try {
    setMaxListeners(0, controller.signal);
  } catch {
    // A class that the program put in place of Node's: it does not warn.
  }
  return controller;
}
