/** The pool's pauses and deadlines. */

/** Calls `callback` once, in `ms` milliseconds, unless the returned function was called before. */
export function after(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

/** Milliseconds of a clock that never goes back. */
export function nowMs(): number {
  return performance.now();
}
