/**
 * Worker threads that consume a queue. Each runs one long-lived task that attaches to the broker and takes messages
 * itself. What is unfinished is known from the leases, not from the pool: when a thread dies, the engine gives its
 * leases back at once, and the pool starts another in its place.
 *
 * A place whose thread did not live long waits before the next one starts, twice as long each time. Once the threads of
 * every place have failed to start several times in a row, the pool gives up.
 */
import { type Closable, type CloseOptions, readCloseTimeout } from "../closing.js";
import type { CodecName } from "../codec.js";
import type { BrokerHandle } from "../engine/binding.js";
import { after, holdLoop, nowMs } from "../engine/loop.js";
import { MillraceError } from "../errors.js";
import { agentUrl } from "./agent.js";
import { type PoolOptions, readPoolOptions } from "./pool-options.js";
import { PoolThread } from "./pool-thread.js";

/** What a pool needs of its queue and its broker. */
export interface PoolHost {
  readonly handle: BrokerHandle;
  readonly queue: string;
  readonly codec: CodecName;
  /** `listener` is called once, when the broker ends for this thread. */
  onEnd(listener: (error: Error) => void): () => void;
  remove(closable: Closable): void;
}

/** Starts in a row that fail in every place until the pool gives up. */
const FAILED_STARTS_MAX = 7;
/** A thread that took messages for this long is replaced at once. */
const LONG_LIFE_MS = 1000;
const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 5000;
/** What threads get beyond the deadline of a close, to answer. */
const ANSWER_MS = 100;

/** One of the threads that were asked for; those that run there follow each other. */
interface Place {
  thread: PoolThread | undefined;
  /** When its thread began to take messages. */
  readyAtMs: number | undefined;
  wasReady: boolean;
  /** In a row: threads that ended before they took messages, and threads that did not live long. */
  failedStarts: number;
  shortLives: number;
  cancelPause: () => void;
}

export class WorkerPool implements Closable, AsyncDisposable {
  readonly threads: number;
  /**
   * Resolves when every thread takes messages, or some do and each other has failed to start 7 times in a row, of which
   * `onError` was told (it is tried further). Rejects with `POOL_FAILED` if none can be started.
   */
  readonly ready: Promise<void>;
  /**
   * Resolves when the pool has closed, whoever closed it; rejects when it ended by a failure: `STORE_FAILED`, or
   * `POOL_FAILED` once the threads of every place have failed to start 7 times in a row, within 4 seconds or more.
   */
  readonly closed: Promise<void>;
  readonly #start: (place: Place) => PoolThread;
  readonly #onError: (error: Error) => void;
  readonly #onClosed: () => void;
  readonly #stopListening: () => void;
  readonly #places: readonly Place[];
  #restarts = 0;
  #becomeReady: () => void = () => {};
  #refuse: (error: Error) => void = () => {};
  #becomeClosed: () => void = () => {};
  #closing: Promise<void> | undefined;
  #failure: Error | undefined;

  /** @internal Use `queue.consumeInWorkers()`. */
  constructor(host: PoolHost, module: unknown, options: PoolOptions | undefined) {
    const { threads, concurrency, prefetch, data, resourceLimits, onError } = readPoolOptions(options);
    const { handle, queue, codec } = host;
    const task = { handle, queue, codec, module: agentUrl(module), concurrency, prefetch, data };
    this.threads = threads;
    this.#onError = onError;
    this.#start = (place) =>
      new PoolThread(task, resourceLimits, { ready: () => this.#isReady(place), error: onError });
    this.ready = new Promise((resolve, reject) => {
      this.#becomeReady = resolve;
      this.#refuse = reject;
    });
    this.ready.catch(() => {});
    this.closed = new Promise((resolve, reject) => {
      this.#becomeClosed = () => (this.#failure === undefined ? resolve() : reject(this.#failure));
    });
    this.closed.catch(() => {});
    // The process waits for an open pool, also while none of its threads runs.
    const letGo = holdLoop();
    this.#onClosed = () => {
      letGo();
      host.remove(this);
    };
    this.#stopListening = host.onEnd((error) => {
      if (this.#closing !== undefined) return;
      if (error instanceof MillraceError && error.code === "CLOSED") void this.close({ timeout: 0 });
      else this.#fail(error);
    });
    this.#places = Array.from({ length: threads }, () => ({
      thread: undefined,
      readyAtMs: undefined,
      wasReady: false,
      failedStarts: 0,
      shortLives: 0,
      cancelPause: () => {},
    }));
    for (const place of this.#places) this.#fill(place);
  }

  /** Threads that ended and were replaced. */
  get restarts(): number {
    return this.#restarts;
  }

  #fill(place: Place): void {
    const thread = this.#start(place);
    place.thread = thread;
    void thread.ended.then(async (error) => {
      if (this.#closing !== undefined) return;
      this.#ended(place, error);
      await thread.destroy();
    });
  }

  #isReady(place: Place): void {
    place.readyAtMs = nowMs();
    place.failedStarts = 0;
    place.wasReady = true;
    this.#readyIfTried();
  }

  #readyIfTried(): void {
    const tried = (place: Place) => place.wasReady || place.failedStarts >= FAILED_STARTS_MAX;
    if (this.#places.every(tried) && this.#places.some(({ wasReady }) => wasReady)) this.#becomeReady();
  }

  #ended(place: Place, error: Error | undefined): void {
    const { readyAtMs } = place;
    place.thread = undefined;
    place.readyAtMs = undefined;
    if (readyAtMs === undefined) place.failedStarts++;
    const livedLong = readyAtMs !== undefined && nowMs() - readyAtMs >= LONG_LIFE_MS;
    place.shortLives = livedLong ? 0 : place.shortLives + 1;
    const cause = error ?? new MillraceError("POOL_FAILED", "it stopped taking messages");
    this.#onError(new MillraceError("POOL_FAILED", `a worker thread ended: ${cause.message}`, { cause }));
    // Told of the end, the user may have closed the pool.
    if (this.#closing !== undefined) return;
    if (this.#places.every(({ failedStarts }) => failedStarts >= FAILED_STARTS_MAX)) {
      const tried = `the pool's threads cannot be started (tried ${FAILED_STARTS_MAX} times each)`;
      this.#fail(new MillraceError("POOL_FAILED", `${tried}: ${cause.message}`, { cause }));
      return;
    }
    this.#readyIfTried();
    this.#restarts++;
    if (place.shortLives === 0) this.#fill(place);
    else place.cancelPause = after(pauseMs(place.shortLives), () => this.#fill(place));
  }

  #fail(failure: Error): void {
    this.#failure = failure;
    this.#refuse(failure);
    this.#onError(failure);
    void this.close({ timeout: 0 });
  }

  /**
   * Takes nothing more and waits up to `timeout` for the handlers that run. Then their `signal`s abort, and the messages
   * of those that have not ended go back to the queue. The threads end. Closing again waits for the first close.
   */
  close(options?: CloseOptions): Promise<void> {
    const timeout = readCloseTimeout(options);
    this.#closing ??= this.#shut(timeout);
    return this.#closing;
  }

  async #shut(timeout: number): Promise<void> {
    // As in a consumer; and a close that ran out of stack half way could not be repeated.
    await undefined;
    this.#stopListening();
    this.#refuse(new MillraceError("CLOSED", "the pool was closed"));
    for (const place of this.#places) place.cancelPause();
    const threads = this.#places.flatMap(({ thread }) => thread ?? []);
    for (const thread of threads) thread.close(timeout);
    let cancel = (): void => {};
    const late = new Promise<void>((resolve) => {
      // A thread whose event loop is blocked does not answer: it is terminated.
      cancel = after(timeout + ANSWER_MS, resolve);
    });
    await Promise.race([Promise.all(threads.map(({ ended }) => ended)), late]);
    cancel();
    for (const thread of threads) thread.forgive();
    try {
      await Promise.all(threads.map((thread) => thread.destroy()));
    } finally {
      this.#onClosed();
      this.#becomeClosed();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function pauseMs(shortLives: number): number {
  return Math.min(PAUSE_MS_MIN * 2 ** (shortLives - 1), PAUSE_MS_MAX);
}
