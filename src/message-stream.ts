/** Consumption as an async iterator. */
import { type Closable, type CloseOptions, readCloseTimeout } from "./closing.js";
import type { Codec } from "./codec.js";
import { PER_TURN_MAX, PREFETCH_MAX } from "./consumer.js";
import { nextTurn } from "./engine/loop.js";
import type { Session } from "./engine/session.js";
import { ensureStack } from "./engine/stack.js";
import { MillraceError } from "./errors.js";
import { type Leased, LeaseHolder } from "./lease-holder.js";
import type { Message } from "./message.js";
import { integer, readOptions } from "./options.js";
import { abortSignal, onAbort } from "./signals.js";

export interface ReceiveOptions {
  /** Messages leased ahead, those not yet settled included, 1 to 65,536. Default 16. */
  prefetch?: number;
  /** Ends the iteration. */
  signal?: AbortSignal;
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
  #inARow = 0;
  #resting = false;
  #serving = false;

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
        return false;
      },
    );
    this.#leases.onSettled = () => {
      if (this.#pausedForSettling) this.#serve();
      if (this.#done && this.#leases.outstanding === 0) this.#leases.close();
    };
    const end = (): void => void this.return();
    const stopWatching = signal === undefined || signal.aborted ? () => {} : onAbort(signal, end);
    const stopListening = session.onEnd((error) => {
      if (!(error instanceof MillraceError) || error.code !== "CLOSED") this.#error = error;
      this.#finish();
    });
    this.#stopWatching = () => {
      stopListening();
      stopWatching();
    };
    if (signal?.aborted) end();
  }

  /** @internal True once the iteration has ended. */
  get ended(): boolean {
    return this.#done;
  }

  next(): Promise<IteratorResult<Message<T>, undefined>> {
    if (this.#turns.length === 0 && !this.#resting) {
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
    ensureStack();
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
    if (message === undefined) {
      this.#pausedForSettling = this.#leases.outstanding >= this.#prefetch;
      return undefined;
    }
    this.#pausedForSettling = false;
    if (++this.#inARow === PER_TURN_MAX) this.#rest();
    return { done: false, value: message };
  }

  /** A loop over a backlog awaits nothing but resolved promises: timers, signals and confirmations get a turn here. */
  #rest(): void {
    nextTurn(() => {
      this.#inARow = 0;
      this.#resting = false;
      this.#serve();
    });
    this.#resting = true;
  }

  #serve(): void {
    // Taking settles what was answered before, which calls this.
    if (this.#serving) return;
    this.#serving = true;
    try {
      this.#serveTurns();
    } finally {
      this.#serving = false;
    }
  }

  #serveTurns(): void {
    while (this.#turns.length > 0 && !this.#resting) {
      const result = this.#take();
      if (result !== undefined) this.#turns.shift()?.resolve(result);
      else if (this.#error !== undefined) this.#turns.shift()?.reject(this.#takeError());
      else return;
    }
    if (this.#turns.length > 0) return;
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
