/** Consumption as an async iterator. */
import { type Closable, type CloseOptions, readCloseTimeout, within } from "./closing.js";
import type { Codec } from "./codec.js";
import { PREFETCH_MAX } from "./consumer.js";
import type { Session } from "./engine/session.js";
import { ensureStack } from "./engine/stack.js";
import { rest, turn } from "./engine/turn.js";
import { MillraceError } from "./errors.js";
import { LeaseHolder } from "./lease-holder.js";
import type { Message } from "./message.js";
import { integer, readOptions } from "./options.js";
import { abortSignal, onAbort } from "./signals.js";

export interface ReceiveOptions {
  /** Messages leased ahead, those not yet settled included, 1 to 65,536. Default 16. */
  prefetch?: number;
  /** Ends the iteration. What was yielded stays with its holder. */
  signal?: AbortSignal;
}

interface Turn<T> {
  resolve(result: IteratorResult<Message<T>, undefined>): void;
  reject(error: Error): void;
}

/**
 * The messages of a queue as an async iterator: see `Queue.receive`. Leaving the loop, by break, return or throw, gives
 * back what was taken ahead and, as a failure, the message of the last turn if it was not answered; earlier ones stay
 * leased to their holder, who may still settle them.
 *
 * M1 Nothing of it is known to the engine, the session or the broker before the first next(), nor once the iteration
 *    has ended and what it yielded is answered or back in the queue.
 * M2 Calls of next() are served in their order; while one waits, the queue or the event loop's turn is waited for.
 * M3 `last` is the message of the turn that goes on: none while a next() waits.
 */
export class MessageStream<T>
  implements AsyncIterableIterator<Message<T>, undefined>, Closable, AsyncDisposable
{
  readonly #session: Session;
  readonly #queue: number;
  readonly #codec: Codec;
  readonly #prefetch: number;
  readonly #signal: AbortSignal | undefined;
  readonly #host: StreamHost;
  readonly #turns: Turn<T>[] = [];
  #leases: LeaseHolder<T> | undefined;
  #stopWatching: () => void = () => {};
  #letGo: (() => void) | undefined;
  #last: Message<T> | undefined;
  #error: Error | undefined;
  #done = false;
  #resting = false;
  #serving = false;
  #closing: Promise<void> | undefined;
  #whenFree: (() => void) | undefined;

  /** @internal */
  constructor(
    session: Session,
    queue: number,
    codec: Codec,
    options: ReceiveOptions | undefined,
    host: StreamHost,
  ) {
    const given = readOptions(options, ["prefetch", "signal"], "receive options");
    this.#prefetch = given.prefetch === undefined ? 16 : integer(given.prefetch, "prefetch", 1, PREFETCH_MAX);
    this.#signal = given.signal === undefined ? undefined : abortSignal(given.signal, "signal");
    if (session.ended !== undefined) throw session.ended;
    this.#session = session;
    this.#queue = queue;
    this.#codec = codec;
    this.#host = host;
  }

  next(): Promise<IteratorResult<Message<T>, undefined>> {
    if (this.#turns.length === 0 && !this.#done && !turn.over) {
      if (this.#leases === undefined || this.#leases.ahead === 0) ensureStack();
      const message = this.#take();
      this.#last = message;
      if (message !== undefined) return Promise.resolve({ done: false, value: message });
    }
    return this.#nextLater();
  }

  #nextLater(): Promise<IteratorResult<Message<T>, undefined>> {
    ensureStack();
    this.#last = undefined;
    if (this.#error !== undefined) return Promise.reject(this.#takeError());
    if (this.#done) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#turns.push({ resolve, reject });
      this.#letGo ??= this.#host.hold();
      if (turn.over) this.#rest();
    });
  }

  /** Leaves the loop. */
  return(): Promise<IteratorResult<Message<T>, undefined>> {
    ensureStack();
    const last = this.#last;
    this.#last = undefined;
    if (last?.answered === false) void last.nack({ reason: "its loop was left without an answer" });
    this.#finish();
    return Promise.resolve({ done: true, value: undefined });
  }

  /**
   * Ends the iteration, gives back what was taken ahead, and waits up to `timeout` for the answers of what was yielded.
   * What is not answered then goes back to the queue, which is no failure of it. Closing again waits for the first
   * close.
   */
  close(options?: CloseOptions): Promise<void> {
    const timeout = readCloseTimeout(options);
    this.#closing ??= this.#shut(timeout);
    return this.#closing;
  }

  async #shut(timeout: number): Promise<void> {
    this.#finish();
    if (this.#leases === undefined) return;
    await within(timeout, (free) => {
      this.#whenFree = free;
    });
    this.#forget();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Leaves the loop. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** The next message, if there is one; opens the engine's side with the first call. An error is kept. */
  #take(): Message<T> | undefined {
    try {
      if (this.#leases === undefined) this.#open();
      return this.#leases?.take(this.#prefetch);
    } catch (error) {
      // The broker ended while this thread was being told: CLOSED ends the iteration, anything else is its error.
      if (error instanceof MillraceError && error.code === "CLOSED") this.#finish();
      else this.#error = error as Error;
      return undefined;
    }
  }

  #open(): void {
    if (this.#signal?.aborted) {
      this.#finish();
      return;
    }
    this.#leases = new LeaseHolder<T>(this.#session, this.#queue, this.#codec, {
      ready: () => this.#serve(),
      damaged: (error) => {
        this.#error = error;
        return false;
      },
      settled: () => {
        if (this.#done) this.#forgetIfFree();
        else if (this.#turns.length > 0) this.#serve();
      },
    });
    const stopListening = this.#session.onEnd((error) => {
      if (!(error instanceof MillraceError) || error.code !== "CLOSED") this.#error = error;
      this.#finish();
    });
    const stopWatching = this.#signal === undefined ? () => {} : onAbort(this.#signal, () => this.#finish());
    this.#stopWatching = () => {
      stopListening();
      stopWatching();
    };
    this.#host.add(this);
  }

  #rest(): void {
    if (this.#resting) return;
    rest(this.#goOn);
    this.#resting = true;
  }

  readonly #goOn = (): void => {
    this.#resting = false;
    this.#serve();
  };

  #serve(): void {
    // Taking settles what was answered before, which calls this.
    if (this.#serving || this.#resting) return;
    this.#serving = true;
    try {
      this.#serveTurns();
    } finally {
      this.#serving = false;
    }
  }

  #serveTurns(): void {
    while (this.#turns.length > 0) {
      if (this.#done) {
        this.#turns.shift()?.resolve({ done: true, value: undefined });
        continue;
      }
      if (turn.over) {
        this.#rest();
        return;
      }
      const message = this.#take();
      if (message !== undefined) {
        this.#last = message;
        this.#turns.shift()?.resolve({ done: false, value: message });
      } else if (this.#error !== undefined) {
        this.#turns.shift()?.reject(this.#takeError());
      } else if (!this.#done) {
        return;
      }
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

  /** Ends the iteration. What was yielded stays leased. */
  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#stopWatching();
    this.#leases?.stop();
    this.#serve();
    this.#forgetIfFree();
  }

  #forgetIfFree(): void {
    if (this.#leases === undefined) return;
    if (this.#session.ended !== undefined || this.#leases.outstanding === 0) this.#forget();
    else this.#leases.watchLeases();
  }

  #forget(): void {
    const leases = this.#leases;
    if (leases === undefined) return;
    this.#leases = undefined;
    leases.close();
    this.#host.remove(this);
    this.#whenFree?.();
  }
}

/** Where a stream is known while it goes on. */
export interface StreamHost {
  /** Keeps the thread alive until the returned function is called. */
  hold(): () => void;
  add(stream: Closable): void;
  remove(stream: Closable): void;
}
