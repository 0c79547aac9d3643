/** Messages for those who ask for them one by one. */
import { type Closable, type CloseOptions, readCloseTimeout, within } from "../closing.js";
import type { Codec } from "../codec.js";
import type { Session } from "../engine/session.js";
import { ensureStack, isOverflow } from "../engine/stack.js";
import { rest, turn } from "../engine/turn.js";
import { MillraceError } from "../errors.js";
import { onAbort } from "../signals.js";
import { LeaseHolder } from "./lease-holder.js";
import type { Message } from "./message.js";

interface Turn<T> {
  resolve(result: IteratorResult<Message<T>, undefined>): void;
  reject(error: Error): void;
}

/**
 * What a MessageStream does, apart from it, so that a stream that nobody has any more can be told from one that waits.
 *
 * M1 Nothing of it is known to the engine, the session or the broker before the first next(), nor once the iteration
 *    has ended and what it yielded is answered or back in the queue.
 * M2 Calls of next() are served in their order; while one waits, the queue or the event loop's turn is waited for.
 * M3 `last` is the message of the turn that goes on: none while a next() waits.
 * M4 It knows nothing of its stream: that one may be collected, and ends it then.
 */
export class Feed<T> implements Closable {
  readonly #session: Session;
  readonly #queue: number;
  readonly #codec: Codec;
  readonly #prefetch: number;
  readonly #signal: AbortSignal | undefined;
  readonly #host: StreamHost;
  readonly #turns: Turn<T>[] = [];
  #leases: LeaseHolder<T> | undefined;
  #stopWatching: () => void = () => {};
  #stopListening: () => void = () => {};
  #letGo: (() => void) | undefined;
  #last: Message<T> | undefined;
  #error: Error | undefined;
  #done = false;
  #dropped = false;
  #resting = false;
  #serving = false;
  #closing: Promise<void> | undefined;
  #whenFree: (() => void) | undefined;

  constructor(
    session: Session,
    queue: number,
    codec: Codec,
    prefetch: number,
    signal: AbortSignal | undefined,
    host: StreamHost,
  ) {
    this.#session = session;
    this.#queue = queue;
    this.#codec = codec;
    this.#prefetch = prefetch;
    this.#signal = signal;
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

  /** Ends the iteration in the middle of a turn: its message has failed, if it was not answered. */
  leave(): void {
    ensureStack();
    const last = this.#last;
    this.#last = undefined;
    if (last?.answered === false) void last.nack({ reason: "its loop was left without an answer" });
    this.#finish();
  }

  /** Nobody can call next() any more. Those who did get what they wait for. */
  drop(): void {
    this.#dropped = true;
    if (this.#turns.length === 0) this.#finish();
  }

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

  /** The next message, if there is one; opens the engine's side with the first call. An error is kept. */
  #take(): Message<T> | undefined {
    try {
      if (this.#leases === undefined) this.#open();
      return this.#leases?.take(this.#prefetch);
    } catch (error) {
      // Nothing was taken, and the call that ran out of stack is the caller's own.
      if (isOverflow(error)) throw error;
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
    // Until it is forgotten: with the broker every lease ends, also those of a loop that is over.
    this.#stopListening = this.#session.onEnd((error) => {
      const closed = error instanceof MillraceError && error.code === "CLOSED";
      if (!closed && !this.#done) this.#error = error;
      this.#finish();
      this.#forgetIfFree();
    });
    if (this.#signal !== undefined) this.#stopWatching = onAbort(this.#signal, () => this.#finish());
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
      if (this.#error !== undefined) {
        this.#turns.shift()?.reject(this.#takeError());
        continue;
      }
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
      } else if (this.#error === undefined && !this.#done) {
        return;
      }
    }
    this.#letGo?.();
    this.#letGo = undefined;
    if (this.#dropped) this.#finish();
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
    this.#leases?.stop();
    this.#stopWatching();
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
    this.#stopListening();
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
