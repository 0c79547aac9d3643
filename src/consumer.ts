/** Consumers: a handler with a limit on how many run at once, and an async iterator. */
import type { Codec } from "./codec.js";
import type { Session } from "./engine/session.js";
import { invalidArgument, MillraceError } from "./errors.js";
import { type Leased, LeaseHolder } from "./lease-holder.js";
import type { Message } from "./message.js";
import { abortSignal, integer, milliseconds, readOptions, TIMER_MS_MAX } from "./options.js";

export const CONCURRENCY_MAX = 65_536;
export const PREFETCH_MAX = 65_536;
/** What a timer can wait, less what a pool gives its threads to answer. */
const CLOSE_MS_MAX = TIMER_MS_MAX - 1000;
/** Handlers that run without giving the event loop a turn, at most. */
const STARTS_PER_TURN = 256;

export interface HandlerContext {
  /** Aborts when the consumer closes; its reason is a MillraceError with code `CLOSED`. */
  readonly signal: AbortSignal;
}

/** Returning acks the message, throwing nacks it, unless the handler answered itself. */
export type Handler<T> = (message: Message<T>, context: HandlerContext) => unknown;

export interface ConsumeOptions {
  /** Handlers that run at once, 1 to 65,536. Default 1. */
  concurrency?: number;
  /** Messages leased ahead, those in handlers included, `concurrency` to 65,536. Default 64 or `concurrency`. */
  prefetch?: number;
  /** Called with errors that belong to no message: a damaged record, a store that failed. Default: ignored. */
  onError?: (error: Error) => void;
}

export interface CloseOptions {
  /** Milliseconds that running handlers get to finish, 24 days at most. Default 10,000. */
  timeout?: number;
}

export interface ReceiveOptions {
  /** Messages leased ahead, those not yet settled included, 1 to 65,536. Default 16. */
  prefetch?: number;
  /** Ends the iteration. */
  signal?: AbortSignal;
}

export function readConsumeOptions(options: ConsumeOptions | undefined): Required<
  Omit<ConsumeOptions, "onError">
> & {
  onError: (error: Error) => void;
} {
  const given = readOptions(options, ["concurrency", "prefetch", "onError"], "consume options");
  const concurrency =
    given.concurrency === undefined ? 1 : integer(given.concurrency, "concurrency", 1, CONCURRENCY_MAX);
  const prefetch =
    given.prefetch === undefined
      ? Math.max(64, concurrency)
      : integer(given.prefetch, "prefetch", concurrency, PREFETCH_MAX);
  if (given.onError !== undefined && typeof given.onError !== "function") {
    throw invalidArgument("onError must be a function");
  }
  const told = (given.onError as ((error: Error) => void) | undefined) ?? (() => {});
  const onError = (error: Error): void => {
    try {
      told(error);
    } catch (thrown) {
      // An uncaught exception, as from any callback, but not in the middle of what was going on.
      queueMicrotask(() => {
        throw thrown;
      });
    }
  };
  return { concurrency, prefetch, onError };
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

/** Runs a handler for each message of a queue: see `Queue.consume`. */
export class Consumer<T> implements Closable, AsyncDisposable {
  readonly #handler: Handler<T>;
  readonly #concurrency: number;
  readonly #prefetch: number;
  readonly #leases: LeaseHolder<T>;
  readonly #abort = new AbortController();
  readonly #context: HandlerContext = { signal: this.#abort.signal };
  readonly #onClosed: () => void;
  readonly #stopWatching: () => void;
  readonly #letGo: () => void;
  #running = 0;
  #resting = false;
  #closing: Promise<void> | undefined;
  #idle: (() => void) | undefined;
  #becomeClosed: () => void = () => {};
  /** Resolves when the consumer has closed, whoever closed it: you, the broker's end, a store that failed. */
  readonly closed: Promise<void> = new Promise((resolve) => {
    this.#becomeClosed = resolve;
  });

  /** @internal */
  constructor(
    session: Session,
    queue: Leased,
    codec: Codec,
    handler: Handler<T>,
    options: ConsumeOptions | undefined,
    hold: () => () => void,
    onClosed: (consumer: Consumer<T>) => void,
  ) {
    const { concurrency, prefetch, onError } = readConsumeOptions(options);
    if (typeof handler !== "function") throw invalidArgument("handler must be a function");
    this.#handler = handler;
    this.#concurrency = concurrency;
    this.#prefetch = prefetch;
    this.#onClosed = () => onClosed(this);
    this.#leases = new LeaseHolder<T>(session, queue, codec, () => this.#pump(), onError);
    this.#letGo = hold();
    this.#stopWatching = session.onEnd((error) => {
      if (this.#closing !== undefined) return;
      if (!(error instanceof MillraceError) || error.code !== "CLOSED") onError(error);
      void this.close({ timeout: 0 });
    });
    queueMicrotask(() => this.#pump());
  }

  /** Handlers that run now. */
  get running(): number {
    return this.#running;
  }

  /** Starts handlers while there are messages and places. */
  #pump(): void {
    let starts = 0;
    while (this.#running < this.#concurrency && this.#closing === undefined && !this.#resting) {
      if (starts++ === STARTS_PER_TURN) {
        this.#resting = true;
        setImmediate(this.#wake);
        return;
      }
      let message: Message<T> | undefined;
      try {
        message = this.#leases.take(this.#prefetch);
      } catch {
        return; // The broker ended: onEnd closes this consumer.
      }
      if (message === undefined) return;
      this.#start(message);
    }
  }

  readonly #wake = (): void => {
    this.#resting = false;
    this.#pump();
  };

  #start(message: Message<T>): void {
    this.#running++;
    let result: Promise<unknown> | undefined;
    try {
      const returned = this.#handler(message, this.#context) as PromiseLike<unknown> | undefined;
      // A thenable of any make settles once, as a promise.
      if (typeof returned?.then === "function") result = Promise.resolve(returned);
    } catch (error) {
      this.#finish(message, { error }, false);
      return;
    }
    if (result === undefined) {
      this.#finish(message, undefined, false);
      return;
    }
    result.then(
      () => this.#finish(message, undefined, true),
      (error: unknown) => this.#finish(message, { error }, true),
    );
  }

  /** `failure` is an object of its own, because a handler may throw anything, `undefined` included. */
  #finish(message: Message<T>, failure: { error: unknown } | undefined, later: boolean): void {
    this.#running--;
    if (!message.answered) {
      if (failure === undefined) this.#leases.ackQuietly(message);
      else void message.nack({ reason: reasonOf(failure.error) });
    }
    if (this.#running === 0) this.#idle?.();
    // Handlers that end in the same turn share one look for more.
    if (later && !this.#resting) {
      this.#resting = true;
      queueMicrotask(this.#wake);
    }
  }

  /**
   * Takes nothing more, gives unstarted messages back, aborts the handlers' `signal` and waits up to `timeout` for them.
   * The messages of handlers that still run then go back to the queue. Closing again waits for the first close.
   */
  close(options?: CloseOptions): Promise<void> {
    const timeout = readCloseTimeout(options);
    this.#closing ??= this.#shut(timeout);
    return this.#closing;
  }

  async #shut(timeout: number): Promise<void> {
    // What follows runs code of the user, which may close again: then there is a close to wait for.
    await undefined;
    this.#stopWatching();
    this.#leases.stop();
    if (this.#running > 0) {
      this.#abort.abort(new MillraceError("CLOSED", "the consumer closes"));
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeout);
        this.#idle = () => {
          clearTimeout(timer);
          resolve();
        };
        if (this.#running === 0) this.#idle();
      });
    }
    this.#leases.close();
    this.#letGo();
    this.#onClosed();
    this.#becomeClosed();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function reasonOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return "the handler threw something that cannot be written as text";
  }
}

interface Turn<T> {
  resolve(result: IteratorResult<Message<T>, undefined>): void;
  reject(error: Error): void;
}

/**
 * The messages of a queue as an async iterator: see `Queue.receive`. Leaving the loop gives back what was prefetched;
 * messages that were yielded stay leased to their holder, who may still settle them.
 */
export class MessageStream<T>
  implements AsyncIterableIterator<Message<T>, undefined>, Closable, AsyncDisposable
{
  readonly #leases: LeaseHolder<T>;
  readonly #prefetch: number;
  readonly #hold: () => () => void;
  readonly #turns: Turn<T>[] = [];
  readonly #onClosed: () => void;
  readonly #stopWatching: () => void;
  #error: Error | undefined;
  #done = false;
  #letGo: (() => void) | undefined;
  #pausedForSettling = false;

  /** @internal */
  constructor(
    session: Session,
    queue: Leased,
    codec: Codec,
    options: ReceiveOptions | undefined,
    hold: () => () => void,
    onClosed: (stream: MessageStream<T>) => void,
  ) {
    const given = readOptions(options, ["prefetch", "signal"], "receive options");
    this.#prefetch = given.prefetch === undefined ? 16 : integer(given.prefetch, "prefetch", 1, PREFETCH_MAX);
    const signal = given.signal === undefined ? undefined : abortSignal(given.signal, "signal");
    this.#hold = hold;
    this.#onClosed = () => onClosed(this);
    this.#leases = new LeaseHolder<T>(
      session,
      queue,
      codec,
      () => this.#serve(),
      (error) => {
        this.#error = error;
      },
    );
    this.#leases.onSettled = () => {
      if (this.#pausedForSettling) this.#serve();
      if (this.#done && this.#leases.outstanding === 0) this.#leases.close();
    };
    const end = (): void => void this.return();
    signal?.addEventListener("abort", end, { once: true });
    const stopWatching = session.onEnd((error) => {
      if (!(error instanceof MillraceError) || error.code !== "CLOSED") this.#error = error;
      this.#finish();
    });
    this.#stopWatching = () => {
      stopWatching();
      signal?.removeEventListener("abort", end);
    };
    if (signal?.aborted) end();
  }

  /** @internal True once the iteration has ended. */
  get ended(): boolean {
    return this.#done;
  }

  next(): Promise<IteratorResult<Message<T>, undefined>> {
    if (this.#turns.length === 0) {
      const result = this.#take();
      if (result !== undefined) return Promise.resolve(result);
      if (this.#error !== undefined) return Promise.reject(this.#takeError());
    }
    return new Promise((resolve, reject) => {
      this.#turns.push({ resolve, reject });
      this.#letGo ??= this.#hold();
    });
  }

  /** Ends the iteration. */
  return(): Promise<IteratorResult<Message<T>, undefined>> {
    this.#finish();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Ends the iteration; `timeout` has no meaning here. */
  async close(options?: CloseOptions): Promise<void> {
    readCloseTimeout(options);
    this.#finish();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #take(): IteratorResult<Message<T>, undefined> | undefined {
    if (this.#error !== undefined) return undefined;
    if (this.#done) return { done: true, value: undefined };
    let message: Message<T> | undefined;
    try {
      message = this.#leases.take(this.#prefetch);
    } catch (error) {
      // The broker ended while this thread was being told: CLOSED ends the iteration, anything else is its error.
      if (!(error instanceof MillraceError && error.code === "CLOSED")) this.#error = error as Error;
      else this.#finish();
      return this.#error === undefined ? { done: true, value: undefined } : undefined;
    }
    this.#pausedForSettling = message === undefined && this.#leases.outstanding >= this.#prefetch;
    return message === undefined ? undefined : { done: false, value: message };
  }

  #serve(): void {
    while (this.#turns.length > 0) {
      const result = this.#take();
      if (result !== undefined) this.#turns.shift()?.resolve(result);
      else if (this.#error !== undefined) this.#turns.shift()?.reject(this.#takeError());
      else return;
    }
    this.#letGo?.();
    this.#letGo = undefined;
  }

  /** An error is told once; the iteration ends with it, as with any iterator that throws. */
  #takeError(): Error {
    const error = this.#error as Error;
    this.#error = undefined;
    this.#finish();
    return error;
  }

  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#stopWatching();
    this.#leases.stop();
    if (this.#leases.outstanding === 0) this.#leases.close();
    this.#serve();
    this.#onClosed();
  }
}
