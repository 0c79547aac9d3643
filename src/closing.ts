/** What all that ends with its broker has in common. */
import { after, holdLoop } from "./engine/loop.js";
import { milliseconds, readOptions, TIMER_MS_MAX } from "./options.js";

/** What a timer can wait, less what a pool gives its threads to answer. */
const CLOSE_MS_MAX = TIMER_MS_MAX - 1000;

export interface CloseOptions {
  /** Milliseconds that running handlers get to finish, 24 days at most. Default 10,000. */
  timeout?: number;
}

export function readCloseTimeout(options: CloseOptions | undefined): number {
  const given = readOptions(options, ["timeout"], "close options");
  const timeout = given.timeout === undefined ? 10_000 : milliseconds(given.timeout, "timeout");
  return Math.min(timeout, CLOSE_MS_MAX);
}

/** Something of a queue that ends with its broker. */
export interface Closable {
  close(options?: CloseOptions): Promise<void>;
}

/** Waits until the function that `begin` gets is called, for `timeout` ms at most. */
export function within(timeout: number, begin: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const release = holdLoop();
    const end = (): void => {
      cancel();
      release();
      resolve();
    };
    const cancel = after(timeout, end);
    begin(end);
  });
}
