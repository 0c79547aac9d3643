/** Consumption by a handler, with a limit on how many run at once. */
import { types } from "node:util";
import { type Closable, type CloseOptions, readCloseTimeout } from "./closing.js";
import type { Codec } from "./codec.js";
import { after, holdLoop, nextTurn, soon, throwLater } from "./engine/loop.js";
import type { Session } from "./engine/session.js";
import { invalidArgument, MillraceError } from "./errors.js";
import { type Leased, LeaseHolder } from "./lease-holder.js";
import type { Message } from "./message.js";
import { integer, readOptions } from "./options.js";
import { sharedController } from "./signals.js";

export const CONCURRENCY_MAX = 65_536;
export const PREFETCH_MAX = 65_536;
/** Handlers that run, and messages that a stream yields, without giving the event loop a turn, at most. */
export const PER_TURN_MAX = 256;

export interface HandlerContext {
  /** Aborts when the consumer closes; its reason is a MillraceError with code `CLOSED`. */
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
  /** Called with errors that belong to no message: a damaged record, a store that failed. Default: ignored. */
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
  const onError = (error: Error): void => {
    try {
      told(error);
    } catch (thrown) {
      throwLater(thrown);
    }
  };
  return { concurrency, prefetch, onError };
}

/** Runs a handler for each message of a queue: see `Queue.consume`. */
export class Consumer<T> implements Closable, AsyncDisposable {
  readonly #handler: Handler<T>;
  readonly #concurrency: number;
  readonly #prefetch: number;
  readonly #leases: LeaseHolder<T>;
  readonly #abort = sharedController();
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
    if (types.isGeneratorFunction(handler)) throw invalidArgument("handler must not be a generator function");
    this.#handler = handler;
    this.#concurrency = concurrency;
    this.#prefetch = prefetch;
    this.#onClosed = () => onClosed(this);
    this.#leases = new LeaseHolder<T>(
      session,
      queue,
      codec,
      () => this.#pump(),
      (error) => {
        onError(error);
        return true;
      },
    );
    this.#letGo = hold();
    this.#stopWatching = session.onEnd((error) => {
      if (this.#closing !== undefined) return;
      if (!(error instanceof MillraceError) || error.code !== "CLOSED") onError(error);
      void this.close({ timeout: 0 });
    });
    void soon(() => this.#pump());
  }

  /** Handlers that run now. */
  get running(): number {
    return this.#running;
  }

  /** Starts handlers while there are messages and places. */
  #pump(): void {
    let starts = 0;
    while (this.#running < this.#concurrency && this.#closing === undefined && !this.#resting) {
      if (starts++ === PER_TURN_MAX) {
        nextTurn(this.#wake);
        this.#resting = true;
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
    let unrun: { error: Error } | undefined;
    try {
      const returned = this.#handler(message, this.#context) as PromiseLike<unknown> | undefined;
      // A thenable of any make settles once, as a promise.
      if (typeof returned?.then === "function") result = Promise.resolve(returned);
      else unrun = unrunIn(returned);
    } catch (error) {
      this.#finish(message, { error }, false);
      return;
    }
    if (result === undefined) {
      this.#finish(message, unrun, false);
      return;
    }
    result.then(
      (value) => this.#finish(message, unrunIn(value), true),
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
      void soon(this.#wake);
      this.#resting = true;
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
      const release = holdLoop();
      await new Promise<void>((resolve) => {
        const cancel = after(timeout, resolve);
        this.#idle = () => {
          cancel();
          resolve();
        };
        if (this.#running === 0) this.#idle();
      });
      release();
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
