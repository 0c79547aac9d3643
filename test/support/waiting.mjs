/** Waiting on a state instead of for a time: whatever a test expects has a deadline and says what it waited for. */

/**
 * Resolves with the first truthy result of `condition`, looked at on every turn of the event loop.
 *
 * @template T
 * @param {() => T | Promise<T>} condition
 * @param {string} what named in the error
 * @param {number} [deadlineMs]
 * @returns {Promise<Exclude<Awaited<T>, false | undefined | null | 0 | "">>}
 */
export async function until(condition, what, deadlineMs = 10_000) {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const result = await condition();
    if (result) return /** @type {never} */ (result);
    if (performance.now() > end) throw new Error(`not after ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/**
 * `promise`, or an error if it takes longer than the deadline.
 *
 * @template T
 * @param {PromiseLike<T>} promise
 * @param {string} what named in the error
 * @param {number} [deadlineMs]
 * @returns {Promise<T>}
 */
export async function within(promise, what, deadlineMs = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not after ${deadlineMs} ms: ${what}`)), deadlineMs);
  });
  try {
    return await Promise.race([promise, /** @type {Promise<never>} */ (late)]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * How `promise` stands after everything that is ready has run: "pending", "resolved" or "rejected".
 *
 * @param {PromiseLike<unknown>} promise
 * @returns {Promise<"pending" | "resolved" | "rejected">}
 */
export async function stateOf(promise) {
  /** @type {"pending" | "resolved" | "rejected"} */
  let state = "pending";
  promise.then(
    () => {
      state = "resolved";
    },
    () => {
      state = "rejected";
    },
  );
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  return state;
}
