/** Consumption as an async iterator. */
import type { Closable, CloseOptions } from "../closing.js";
import type { Codec } from "../codec.js";
import type { Session } from "../engine/session.js";
import { integer, readOptions } from "../options.js";
import { abortSignal } from "../signals.js";
import { PREFETCH_MAX } from "./consumer.js";
import { Feed, type StreamHost } from "./feed.js";
import type { Message } from "./message.js";

export interface ReceiveOptions {
  /** Messages leased ahead, those not yet settled included, 1 to 65,536. Default 16. */
  prefetch?: number;
  /** Ends the iteration. What was yielded stays with its holder. */
  signal?: AbortSignal;
}

/** A loop keeps its stream while it runs, and whoever waits for a message keeps its loop: what is collected was dropped. */
const dropped = new FinalizationRegistry<Feed<unknown>>((feed) => feed.drop());

/**
 * The messages of a queue as an async iterator: see `Queue.receive`. Leaving the loop, by break, return or throw, gives
 * back what was taken ahead and, as a failure, the message of the last turn if it was not answered; earlier ones stay
 * leased to their holder, who may still settle them.
 */
export class MessageStream<T>
  implements AsyncIterableIterator<Message<T>, undefined>, Closable, AsyncDisposable
{
  readonly #feed: Feed<T>;

  /** @internal */
  constructor(
    session: Session,
    queue: number,
    codec: Codec,
    options: ReceiveOptions | undefined,
    host: StreamHost,
  ) {
    const given = readOptions(options, ["prefetch", "signal"], "receive options");
    const prefetch = given.prefetch === undefined ? 16 : integer(given.prefetch, "prefetch", 1, PREFETCH_MAX);
    const signal = given.signal === undefined ? undefined : abortSignal(given.signal, "signal");
    if (session.ended !== undefined) throw session.ended;
    this.#feed = new Feed<T>(session, queue, codec, prefetch, signal, host);
    dropped.register(this, this.#feed as Feed<unknown>);
  }

  next(): Promise<IteratorResult<Message<T>, undefined>> {
    return this.#feed.next();
  }

  /** Leaves the loop. */
  return(): Promise<IteratorResult<Message<T>, undefined>> {
    this.#feed.leave();
    return Promise.resolve({ done: true, value: undefined });
  }

  /**
   * Ends the iteration, gives back what was taken ahead, and waits up to `timeout` for the answers of what was yielded.
   * What is not answered then goes back to the queue, which is no failure of it. Closing again waits for the first
   * close.
   */
  close(options?: CloseOptions): Promise<void> {
    return this.#feed.close(options);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Leaves the loop. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#feed.leave();
  }
}
