/** Ctrl-C: the first stops the job, the second the process. */

export const EXIT_INTERRUPTED = 130;

/** Where a shell hands npm's signals on, one Ctrl-C arrives twice: from the terminal and from npm. */
const SAME_KEYSTROKE_MS = 250;

/** Aborts on SIGINT and SIGTERM. */
export function interruptSignal(): AbortSignal {
  const interrupted = new AbortController();
  let firstAt: number | undefined;
  const onSignal = (): void => {
    const now = performance.now();
    firstAt ??= now;
    if (firstAt === now) interrupted.abort();
    else if (now - firstAt > SAME_KEYSTROKE_MS) process.exit(EXIT_INTERRUPTED);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return interrupted.signal;
}
