import type { Closable } from "./closing.js";
import { type CodecName, codecs } from "./codec.js";
import type { BrokerHandle } from "./engine/binding.js";
import { nextTurn } from "./engine/loop.js";
import type { Session } from "./engine/session.js";
import { ensureStack } from "./engine/stack.js";
import { integer, queueName } from "./options.js";
import type { PoolOptions } from "./pool/pool-options.js";
import { WorkerPool } from "./pool/worker-pool.js";
import { patchOf, QUEUE_OPTIONS, type QueueOptions, readQueueOptions } from "./queue-options.js";
import { type ConsumeOptions, Consumer, type Handler } from "./receive/consumer.js";
import { MessageContent } from "./receive/message.js";
import { MessageStream, type ReceiveOptions } from "./receive/message-stream.js";
import {
  type BatchReceipt,
  type Durability,
  Producer,
  type Receipt,
  type SendOptions,
} from "./send/producer.js";

export interface QueueStats {
  /** Messages that could be delivered now, that wait for their delay, that are leased. */
  readonly ready: number;
  readonly delayed: number;
  readonly inFlight: number;
  /** Settled or dying, until the log has it. */
  readonly settling: number;
  /**
   * Of these, dead letters that have no place: their queue is full, or cannot be created (65,535 queues). They wait here
   * and are tried again, for as long as it takes; more than a few for more than a moment want somebody to look.
   */
  readonly deadWaiting: number;
  /** Bytes of records of all of these. */
  readonly bytes: number;
  /** Since the broker was opened: */
  readonly sent: number;
  readonly acked: number;
  /** Went back: nack, release, lease over, consumer died. */
  readonly returned: number;
  /** Deliveries with a count above 1. */
  readonly redelivered: number;
  readonly deadLettered: number;
  /** Dead without a dead-letter queue. */
  readonly dropped: number;
  readonly purged: number;
  /** Answers refused because the lease was lost. */
  readonly leaseLost: number;
  /** Records that did not match their checksum; they are set aside (among `settling`) until the next open. */
  readonly corrupt: number;
  readonly paused: boolean;
}

/** What a queue needs of its broker. */
export interface QueueHost {
  readonly session: Session;
  readonly handle: BrokerHandle;
  /** Keeps the thread alive for a consumer, unless the broker is unref'd; until the returned function is called. */
  hold(): () => void;
  add(closable: Closable): void;
  remove(closable: Closable): void;
}

const PEEK_MAX = 10_000;
/** A named FIFO destination. Get one from `broker.queue(name)`. `T` is the type of the bodies. */
export class Queue<T = unknown> {
  readonly name: string;
  readonly durability: Durability;
  readonly #host: QueueHost;
  readonly #id: number;
  readonly #codec: (typeof codecs)[CodecName];
  readonly #codecName: CodecName;
  readonly #producer: Producer;

  private constructor(
    host: QueueHost,
    name: string,
    id: number,
    memory: boolean,
    codec: CodecName,
    blocks: boolean,
  ) {
    this.name = name;
    this.durability = memory ? "memory" : host.session.limits.durability;
    this.#host = host;
    this.#id = id;
    this.#codecName = codec;
    this.#codec = codecs[codec];
    this.#producer = new Producer({
      session: host.session,
      queue: id,
      codec: this.#codec,
      durability: this.durability,
      blocks,
    });
  }

  /** @internal Use `broker.queue()`. */
  static async open<T>(
    host: QueueHost,
    givenName: unknown,
    options: QueueOptions | undefined,
  ): Promise<Queue<T>> {
    const name = queueName(givenName, "the queue's name");
    const named = readQueueOptions(options);
    const { session } = host;
    if (session.ended !== undefined) throw session.ended;
    ensureStack();
    const report = new Float64Array(1);
    const { id, memory } = session.native.declare(name, patchOf(named), report);
    await session.committed(report[0] as number);
    const { codec = QUEUE_OPTIONS.codec.default, overflow = QUEUE_OPTIONS.overflow.default } = named;
    return new Queue<T>(host, name, id, memory, codec, overflow === "block");
  }

  /**
   * Puts a message in. Resolves when it is as durable as the queue; from then on it is not lost.
   * Rejects: `INVALID_ARGUMENT` (the codec cannot write it), `MESSAGE_TOO_LARGE`, `QUEUE_FULL` (overflow `"reject"`),
   * `DISK_FULL`, `STORE_FAILED`, `CLOSED`. Sends of one turn travel together, in order.
   */
  send(body: T, options?: SendOptions): Promise<Receipt> {
    return this.#producer.send(body, options);
  }

  /**
   * Puts a message in if there is room at this moment; false if not. True means accepted, not yet durable: use `send`
   * to know. Throws what `send` rejects with, `QUEUE_FULL` excepted.
   */
  trySend(body: T, options?: SendOptions): boolean {
    return this.#producer.trySend(body, options);
  }

  /**
   * Puts all of them in or none, even across a crash; the options hold for each. The fastest way to send. A batch that
   * the log cannot take as one commit is refused with `MESSAGE_TOO_LARGE` (8 MiB with the default segment size).
   */
  sendBatch(bodies: readonly T[], options?: SendOptions): Promise<BatchReceipt> {
    return this.#producer.sendBatch(bodies, options);
  }

  /**
   * The messages as they come, each leased to you until you settle it:
   * `for await (const message of queue.receive()) { …; message.ack(); }`
   */
  receive(options?: ReceiveOptions): MessageStream<T> {
    ensureStack();
    return new MessageStream<T>(this.#host.session, this.#id, this.#codec, options, this.#host);
  }

  /** Runs `handler` for each message: returning acks it, throwing nacks it. */
  consume(handler: Handler<T>, options?: ConsumeOptions): Consumer<T> {
    return this.consumeCounting(handler, options, undefined);
  }

  /** @internal consume() with the count of what was begun in memory of the caller's: see LeaseHolder, H1. */
  consumeCounting(
    handler: Handler<T>,
    options: ConsumeOptions | undefined,
    started: Float64Array | undefined,
  ): Consumer<T> {
    const { session } = this.#host;
    const hold = () => this.#host.hold();
    const remove = (closed: Consumer<T>) => this.#host.remove(closed);
    ensureStack();
    const consumer = new Consumer<T>(session, this.#id, this.#codec, handler, options, hold, remove, started);
    this.#host.add(consumer);
    return consumer;
  }

  /**
   * Runs the handler that `module` exports (`default` or `handler`) in worker threads. A thread that dies is replaced
   * and its messages are delivered again at once. An open pool keeps the process alive, `broker.unref()` or not.
   */
  consumeInWorkers(module: URL | string, options?: PoolOptions): WorkerPool {
    const { session, handle, remove } = this.#host;
    if (session.ended !== undefined) throw session.ended;
    ensureStack();
    const host = { handle, queue: this.name, codec: this.#codecName, remove };
    const pool = new WorkerPool({ ...host, onEnd: (ended) => session.onEnd(ended) }, module, options);
    this.#host.add(pool);
    return pool;
  }

  stats(): QueueStats {
    return this.#host.session.native.queueStats(this.#id) as unknown as QueueStats;
  }

  /**
   * The next `max` messages (default 10, at most 10,000) without taking them: the first, and what fits into 64 MiB with
   * it. Damaged ones are left out; throws `CORRUPT` if there is nothing else.
   */
  peek(max = 10): MessageContent<T>[] {
    const wanted = integer(max, "max", 1, PEEK_MAX);
    const found: MessageContent<T>[] = [];
    this.#host.session.inbox.peek(this.#id, wanted, (slab, offset) => {
      found.push(new MessageContent<T>(slab, offset, this.#codec));
    });
    return found;
  }

  /**
   * Deletes every message that waits now: not what is leased. Resolves to their number when that is durable. A large
   * backlog goes in parts, between which others are served; what a close or a failure interrupts is deleted in part.
   */
  async purge(): Promise<number> {
    const { session } = this.#host;
    ensureStack();
    const report = Float64Array.of(0, 1, 0);
    let purged = 0;
    for (;;) {
      purged += session.native.purge(this.#id, report);
      // The next part waits for it: so the committer has no more than one to forget at a time.
      await session.committed(report[0] as number);
      if (report[1] === 0) return purged;
      await new Promise<void>(nextTurn);
    }
  }

  /** Delivers nothing more until `resume()`, for every consumer of this process. What is leased goes on. */
  pause(): void {
    this.#host.session.native.pause(this.#id, true);
  }

  resume(): void {
    this.#host.session.native.pause(this.#id, false);
  }
}
