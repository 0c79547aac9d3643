/** Consumption by a handler, with a limit on how many run at once. */
import { types } from "node:util";
import { type Closable, type CloseOptions, readCloseTimeout, within } from "../closing.js";
import type { Codec } from "../codec.js";
import { after, nextTurn, soon, throwLater } from "../engine/loop.js";
import type { Session } from "../engine/session.js";
import { rest, turn } from "../engine/turn.js";
import { invalidArgument, MillraceError } from "../errors.js";
import { integer, readOptions } from "../options.js";
import { sharedController } from "../signals.js";
import { LeaseHolder } from "./lease-holder.js";
import type { Message } from "./message.js";
import { Scope } from "./scope.js";

export const CONCURRENCY_MAX = 65_536;
export const PREFETCH_MAX = 65_536;
/** After the engine could not hand out, for want of memory, say. */
const TRY_AGAIN_MS = 100;

export interface HandlerContext {
  /**
   * Aborts when the consumer closes and the time that it gives running handlers is over, or the broker has ended; its
   * reason is a MillraceError with code `CLOSED`. What a handler throws from then on is no failure of its message.
   */
  readonly signal: AbortSignal;
}

/** What a handler may return: anything, or a promise of it, but no generator or iterator, whose lines nobody would run. */
export type HandlerResult =
  | (object & { readonly throw?: never })
  // biome-ignore lint/suspicious/noConfusingVoidType: a function without a return is a handler too
  | void
  | null
  | string
  | number
  | bigint
  | boolean
  | symbol;

/** Returning acks the message, throwing nacks it, unless the handler answered itself. */
export type Handler<T> = (message: Message<T>, context: HandlerContext) => HandlerResult;

export interface ConsumeOptions {
  /** Handlers that run at once, 1 to 65,536. Default 1. */
  concurrency?: number;
  /** Messages leased ahead, those in handlers included, `concurrency` to 65,536. Default 64 or `concurrency`. */
  prefetch?: number;
  /** Called with errors that belong to no message: a damaged record, no memory, a store that failed. Default: ignored. */
  onError?: (error: Error) => void;
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
  const scope = new Scope();
  const onError = (error: Error): void => {
    try {
      scope.run(told, error, undefined);
    } catch (thrown) {
      throwLater(thrown);
    }
  };
  return { concurrency, prefetch, onError };
}

/**
 * Runs a handler for each message of a queue: see `Queue.consume`.
 *
 * C1 At most `concurrency` handlers run; a look for more is on its way whenever fewer run and something may have come:
 *    at its begin, when the engine says so, when handlers ended, when its rest is over.
 * C2 Each handler begins in the async context of the registration, whoever's call brings the message.
 * C3 Before each handler the event loop's time is looked at (src/engine/turn.ts), however the one before went on.
 * C4 A handler's throw is a failure until the signal has aborted; what comes back by the abort or after it is none.
 */
export class Consumer<T> implements Closable, AsyncDisposable {
  readonly #handler: Handler<T>;
  readonly #concurrency: number;
  readonly #prefetch: number;
  readonly #session: Session;
  readonly #leases: LeaseHolder<T>;
  readonly #scope = new Scope();
  readonly #onError: (error: Error) => void;
  readonly #abort = sharedController();
  readonly #context: HandlerContext = { signal: this.#abort.signal };
  readonly #onClosed: () => void;
  readonly #stopWatching: () => void;
  readonly #letGo: () => void;
  #running = 0;
  /** A look for more is on its way. */
  #looking = false;
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
    queue: number,
    codec: Codec,
    handler: Handler<T>,
    options: ConsumeOptions | undefined,
    hold: () => () => void,
    onClosed: (consumer: Consumer<T>) => void,
    started?: Float64Array,
  ) {
    const { concurrency, prefetch, onError } = readConsumeOptions(options);
    if (typeof handler !== "function") throw invalidArgument("handler must be a function");
    if (types.isGeneratorFunction(handler)) throw invalidArgument("handler must not be a generator function");
    this.#handler = handler;
    this.#concurrency = concurrency;
    this.#prefetch = prefetch;
    this.#session = session;
    this.#onError = onError;
    this.#onClosed = () => onClosed(this);
    const events = {
      ready: () => this.#pump(),
      damaged: (error: Error) => {
        onError(error);
        return true;
      },
    };
    this.#leases = new LeaseHolder<T>(session, queue, codec, events, started);
    this.#letGo = hold();
    this.#stopWatching = session.onEnd((error) => {
      if (this.#closing !== undefined) return;
      if (!(error instanceof MillraceError) || error.code !== "CLOSED") onError(error);
      void this.close({ timeout: 0 });
    });
    this.#lookSoon();
  }

  /** Handlers that run now. */
  get running(): number {
    return this.#running;
  }

  /** Starts handlers while there are messages and places. */
  #pump(): void {
    if (this.#looking) return;
    while (this.#running < this.#concurrency && this.#closing === undefined) {
      if (turn.over) {
        rest(this.#look);
        this.#looking = true;
        break;
      }
      let message: Message<T> | undefined;
      try {
        message = this.#leases.take(this.#prefetch);
      } catch (error) {
        this.#onTakingFailed(error as Error);
        break;
      }
      if (message === undefined) break;
      this.#start(message);
    }
    this.#leases.settle();
  }

  readonly #look = (): void => {
    this.#looking = false;
    // What is done is said before the next handler begins: that one may end this thread.
    this.#leases.settle();
    this.#pump();
  };

  /** Handlers that end in the same turn share one look for more. */
  #lookSoon(): void {
    if (this.#looking) return;
    void soon(this.#look);
    this.#looking = true;
  }

  #onTakingFailed(error: Error): void {
    // When the broker has ended, onEnd closes this consumer.
    if (this.#session.ended !== undefined || isEnd(error)) return;
    after(TRY_AGAIN_MS, this.#look);
    this.#looking = true;
    this.#onError(error);
  }

  #start(message: Message<T>): void {
    this.#running++;
    let result: Promise<unknown> | undefined;
    let unrun: { error: Error } | undefined;
    try {
      const returned = this.#scope.run(this.#handler, message, this.#context) as
        | PromiseLike<unknown>
        | undefined;
      // A thenable of any make settles once, as a promise.
      if (typeof returned?.then === "function") result = Promise.resolve(returned);
      else unrun = unrunIn(returned);
    } catch (error) {
      this.#finish(message, { error });
      return;
    }
    if (result === undefined) {
      this.#finish(message, unrun);
      return;
    }
    result.then(
      (value) => this.#finishLater(message, unrunIn(value)),
      (error: unknown) => this.#finishLater(message, { error }),
    );
  }

  /** `failure` is an object of its own, because a handler may throw anything, `undefined` included. */
  #finish(message: Message<T>, failure: { error: unknown } | undefined): void {
    this.#running--;
    if (!message.answered) {
      if (failure === undefined) message.ackQuietly();
      else if (this.#abort.signal.aborted) void message.release();
      else void message.nack({ reason: reasonOf(failure.error) });
    }
    if (this.#running === 0) this.#idle?.();
  }

  #finishLater(message: Message<T>, failure: { error: unknown } | undefined): void {
    this.#finish(message, failure);
    this.#lookSoon();
  }

  /**
   * Takes nothing more, gives unstarted messages back and waits up to `timeout` for the handlers that run. Then their
   * `signal` aborts, and the messages of those that have not ended go back to the queue, which is no failure of them.
   * Closing again waits for the first close.
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
      await within(timeout, (idle) => {
        this.#idle = idle;
      });
    }
    if (this.#running > 0) {
      this.#abort.abort(new MillraceError("CLOSED", "the consumer closes"));
      // A handler that ends at once says so before its message goes back.
      await new Promise<void>(nextTurn);
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

/** Whoever takes is told of the broker's end by the session. */
function isEnd(error: Error): boolean {
  return error instanceof MillraceError && (error.code === "CLOSED" || error.code === "STORE_FAILED");
}

/** The failure of a handler that left its work to a generator: nobody runs it, so nothing was done. */
function unrunIn(returned: unknown): { error: Error } | undefined {
  if (typeof returned !== "object" || !types.isGeneratorObject(returned)) return undefined;
  return { error: invalidArgument("the handler returned a generator, whose lines nobody runs") };
}

function reasonOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return "the handler threw something that cannot be written as text";
  }
}
