// The ways to take and ack what was sent. Each starts on a queue and returns { ready?, close }; `note` is called with
// every body (in a worker: by the agent, which makes its own from `data`).

const PREFETCH = 1024;
const agent = new URL("../agents/count.mjs", import.meta.url);

/** A handler in `threads` worker threads. */
export const inWorkers =
  ({ threads = 1, ...options } = {}) =>
  (queue, { data }) =>
    queue.consumeInWorkers(agent, { threads, data, prefetch: PREFETCH, ...options });

/** A handler in the sender's thread: returning acks. */
export const handler =
  ({ prefetch = PREFETCH } = {}) =>
  (queue, { note }) =>
    queue.consume((message) => note(message.body), { prefetch });

/** A handler that awaits its ack. */
export const awaitingHandler =
  ({ concurrency, prefetch = PREFETCH }) =>
  (queue, { note }) =>
    queue.consume(
      async (message) => {
        note(message.body);
        await message.ack();
      },
      { concurrency, prefetch },
    );

/** A plain `receive()` loop; nobody awaits its acks. */
export const loop =
  ({ prefetch = PREFETCH } = {}) =>
  (queue, { note }) =>
    untilAborted(queue, prefetch, async (messages) => {
      for await (const message of messages) {
        note(message.body);
        message.ack();
      }
    });

/** A `receive()` loop that has at most `window` acks under way and awaits each later. */
export const windowedLoop =
  ({ window, prefetch = PREFETCH }) =>
  (queue, { note }) =>
    untilAborted(queue, prefetch, async (messages) => {
      const acks = new Array(window);
      let next = 0;
      for await (const message of messages) {
        note(message.body);
        await acks[next];
        acks[next] = message.ack();
        next = (next + 1) % window;
      }
      await Promise.all(acks);
    });

function untilAborted(queue, prefetch, run) {
  const stop = new AbortController();
  const ended = run(queue.receive({ prefetch, signal: stop.signal }));
  // What the loop throws is told by close(), not as an unhandled rejection before it.
  ended.catch(() => {});
  return {
    close: async () => {
      stop.abort();
      await ended;
    },
  };
}
