import { type BrokerOptions, readBrokerOptions } from "./broker-options.js";
import { type Closable, type CloseOptions, readCloseTimeout } from "./closing.js";
import type { BrokerHandle } from "./engine/binding.js";
import { holdLoop } from "./engine/loop.js";
import { Session } from "./engine/session.js";
import { ensureStack } from "./engine/stack.js";
import { MillraceError } from "./errors.js";
import { integer, readOptions } from "./options.js";
import { Queue, type QueueHost } from "./queue.js";
import type { QueueOptions } from "./queue-options.js";
import type { Durability } from "./send/producer.js";

export interface BrokerStats {
  readonly queues: number;
  /** Threads attached. */
  readonly sessions: number;
  readonly commits: number;
  /** Sends, batches and settlements that were committed: more than `commits`, because they share them. */
  readonly committedUnits: number;
  readonly committedBytes: number;
  readonly syncs: number;
  /** Milliseconds spent in fdatasync. */
  readonly syncMsTotal: number;
  readonly segments: number;
  readonly segmentsFree: number;
  readonly diskBytes: number;
  readonly checkpoints: number;
  readonly movedMessages: number;
  /** Found by recovery when the broker was opened: commits replayed, and bytes cut from an unfinished end. */
  readonly recoveredBlocks: number;
  readonly tornBytes: number;
  /** Where they were: `file:offset` in the directory, in bytes. Empty when nothing was cut. */
  readonly tornAt: string;
  readonly diskFull: boolean;
  readonly failed: boolean;
}

export type { BrokerHandle };

interface Hold {
  release: (() => void) | undefined;
}

/** An open directory (or memory) with its queues. One per directory; every thread of the process may attach to it. */
export class Broker implements AsyncDisposable {
  readonly #session: Session;
  readonly #owner: boolean;
  readonly #open = new Set<Closable>();
  readonly #holds = new Set<Hold>();
  #holdsLoop: boolean;
  #letGo: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  /** Travels to worker threads as data, for `Broker.attach`. */
  readonly handle: BrokerHandle;

  private constructor(session: Session, owner: boolean) {
    this.#session = session;
    this.#owner = owner;
    this.#holdsLoop = true;
    this.handle = Object.freeze(session.native.handle());
    if (owner) this.#letGo = holdLoop();
    session.onEnd(() => this.#release());
    session.poll();
  }

  /**
   * Opens a directory, recovering what an earlier process left, or an empty broker in memory.
   * Rejects: `STORE_LOCKED` (open elsewhere), `CORRUPT`, `INCOMPATIBLE`, `IO_ERROR`, `DISK_FULL`.
   * It keeps the process alive until it is closed or unref'd.
   */
  static async open(options?: BrokerOptions): Promise<Broker> {
    return new Broker(await Session.open(readBrokerOptions(options)), true);
  }

  /**
   * The broker of this handle, in another thread of the same process. Throws `BROKER_NOT_FOUND` if it is not open.
   * Closing an attached broker detaches this thread only, unless nobody else is left who has it open: then it ends, as by
   * its opener's close. Until then it holds some memory of the thread. It keeps the thread alive only while consumers wait.
   */
  static attach(handle: BrokerHandle): Broker {
    const given = readOptions(handle, ["broker", "token"], "the handle");
    const max = Number.MAX_SAFE_INTEGER;
    const broker = integer(given.broker, "handle.broker", 0, max);
    const token = integer(given.token, "handle.token", 0, max);
    ensureStack();
    return new Broker(Session.attach({ broker, token }), false);
  }

  /** What `send` promises on durable queues here; `"memory"` without a directory. */
  get durability(): Durability {
    return this.#session.limits.durability;
  }

  get closed(): boolean {
    return this.#closing !== undefined || this.#session.ended !== undefined;
  }

  /**
   * Opens a queue, creating it if it is new. Options that are given replace the stored ones; others stay as they are.
   * `T` is the type of the bodies.
   * Rejects with `INVALID_ARGUMENT`, `OUT_OF_RANGE`, `LIMIT_REACHED` (65,535 queues), `STORE_FAILED`, `CLOSED`.
   */
  queue<T = unknown>(name: string, options?: QueueOptions & { codec?: "json" }): Promise<Queue<T>>;
  /** A queue whose bodies are bytes, written as they are. */
  queue<T extends Uint8Array = Uint8Array>(
    name: string,
    options: QueueOptions & { codec: "bytes" },
  ): Promise<Queue<T>>;
  /** A queue whose bodies are text, written as UTF-8. */
  queue<T extends string = string>(
    name: string,
    options: QueueOptions & { codec: "text" },
  ): Promise<Queue<T>>;
  /** With a codec that is only known at run time: the type of its bodies is not. */
  queue(name: string, options?: QueueOptions): Promise<Queue>;
  async queue<T = unknown>(name: string, options?: QueueOptions): Promise<Queue<T>> {
    if (this.#closing !== undefined) throw new MillraceError("CLOSED", "the broker is closed");
    return Queue.open<T>(this.#host(), name, options);
  }

  stats(): BrokerStats {
    return this.#session.native.stats() as unknown as BrokerStats;
  }

  /** Keeps the process alive again (the default). */
  ref(): void {
    this.#holdsLoop = true;
    for (const hold of this.#holds) hold.release ??= holdLoop();
    if (this.#owner && !this.closed) this.#letGo ??= holdLoop();
  }

  /**
   * Lets the process exit although the broker and its consumers are open. Sends that wait for their confirmation still
   * hold it, and so do worker pools: close those.
   */
  unref(): void {
    this.#holdsLoop = false;
    for (const hold of this.#holds) {
      hold.release?.();
      hold.release = undefined;
    }
    this.#release();
  }

  /**
   * Closes its consumers and pools (giving running handlers up to `timeout`, default 10,000 ms), commits what was sent
   * and acked, and ends the broker for every thread. An attached broker only detaches. Rejects if the last commit
   * failed. Closing again waits for the first close.
   */
  close(options?: CloseOptions): Promise<void> {
    const timeout = readCloseTimeout(options);
    this.#closing ??= this.#shut(timeout);
    return this.#closing;
  }

  async #shut(timeout: number): Promise<void> {
    // What follows runs code of the user, which may close again: then there is a close to wait for.
    await undefined;
    const release = holdLoop();
    try {
      await Promise.all([...this.#open].map((closable) => closable.close({ timeout })));
      await this.#session.drain(timeout);
      // The last commit confirms what still waits; then this session ends.
      if (this.#owner) await this.#session.native.close();
      this.#session.poll();
    } finally {
      try {
        await this.#session.detach();
      } finally {
        this.#release();
        release();
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** For a consumer: ref() and unref() change it while it lasts. */
  #hold(): () => void {
    const hold: Hold = { release: this.#holdsLoop ? holdLoop() : undefined };
    this.#holds.add(hold);
    return () => {
      hold.release?.();
      this.#holds.delete(hold);
    };
  }

  #release(): void {
    this.#letGo?.();
    this.#letGo = undefined;
  }

  #host(): QueueHost {
    return {
      session: this.#session,
      handle: this.handle,
      hold: () => this.#hold(),
      add: (closable) => this.#open.add(closable),
      remove: (closable) => this.#open.delete(closable),
    };
  }
}
