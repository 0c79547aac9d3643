/**
 * Worker threads that consume a queue. Piscina owns the threads' life; each runs one long-lived task that attaches to
 * the broker and takes messages itself. What is unfinished is known from the leases, not from the pool: when a thread
 * dies, the engine gives its leases back at once and this class starts another task.
 */
import { availableParallelism } from "node:os";
import { isAbsolute } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MessageChannel, type MessagePort, type ResourceLimits } from "node:worker_threads";
import { Piscina } from "piscina";
import { type Closable, type CloseOptions, readCloseTimeout } from "../closing.js";
import type { CodecName } from "../codec.js";
import { type HandlerContext, readConsumeOptions } from "../consumer.js";
import type { BrokerHandle } from "../engine/binding.js";
import { errorOf, invalidArgument, MillraceError, outOfRange } from "../errors.js";
import type { Message } from "../message.js";
import { integer, readOptions } from "../options.js";
import type { FromWorker, ToWorker, WorkerTask } from "./protocol.js";

export interface PoolOptions {
  /** Worker threads, 1 to 1,024. Default: the machine's parallelism. */
  threads?: number;
  /** Handlers that run at once in each thread. Default 1. */
  concurrency?: number;
  /** Messages leased ahead by each thread. Default 64 or `concurrency`. */
  prefetch?: number;
  /** Passed to each agent as `context.data`; must be structured-cloneable. */
  data?: unknown;
  /** Limits of each thread's heap, as in `new Worker`. */
  resourceLimits?: ResourceLimits;
  /** Called when a thread died (it is replaced) and with errors of its consumer. Default: ignored. */
  onError?: (error: Error) => void;
}

/** What a pool needs of its queue and its broker. */
export interface PoolHost {
  readonly handle: BrokerHandle;
  readonly queue: string;
  readonly codec: CodecName;
  /** `listener` is called once, when the broker ends for this thread. */
  onEnd(listener: (error: Error) => void): () => void;
  remove(closable: Closable): void;
}

/** What an agent gets beside the message. `B` is the broker, attached in the agent's thread. */
export interface AgentContext<B = unknown> extends HandlerContext {
  readonly broker: B;
  readonly data: unknown;
}

/** The handler that an agent's module exports as `default` or `handler`. */
export type Agent<T, B = unknown> = (message: Message<T>, context: AgentContext<B>) => unknown;

/** A thread that dies this often in a row before it took its first message makes the pool fail. */
const FAILED_STARTS_MAX = 5;
const THREADS_MAX = 1024;
const SHORT_LIFE_MS = 250;
const RESTART_WAIT_MS = 50;

interface Thread {
  readonly since: number;
  port: MessagePort;
  done: Promise<void>;
}

function moduleUrl(module: unknown): string {
  if (module instanceof URL) {
    if (module.protocol !== "file:")
      throw invalidArgument("the agent's module must be a file: URL or a path");
    return module.href;
  }
  if (typeof module !== "string") throw invalidArgument("the agent's module must be a URL or a path");
  if (module.startsWith("file:")) return module;
  if (!isAbsolute(module)) throw invalidArgument("the path of the agent's module must be absolute");
  return pathToFileURL(module).href;
}

/** What each thread would get; thrown on before there are threads that cannot be told. */
function cloned(data: unknown): unknown {
  try {
    return structuredClone(data);
  } catch (cause) {
    throw Object.assign(invalidArgument("data must be structured-cloneable"), { cause });
  }
}

function readResourceLimits(limits: unknown): ResourceLimits {
  const known = ["maxOldGenerationSizeMb", "maxYoungGenerationSizeMb", "codeRangeSizeMb", "stackSizeMb"];
  const given = readOptions(limits, known, "resourceLimits");
  for (const [name, value] of Object.entries(given)) {
    if (typeof value !== "number") throw invalidArgument(`resourceLimits.${name} must be a number`);
    if (!(value > 0 && value < Number.POSITIVE_INFINITY)) {
      throw outOfRange(`resourceLimits.${name} must be a positive number of MiB`);
    }
  }
  return { ...given };
}

export class WorkerPool implements Closable, AsyncDisposable {
  readonly threads: number;
  /** Resolves when every thread takes messages; rejects with `POOL_FAILED` if none can be started. */
  readonly ready: Promise<void>;
  /**
   * Resolves when the pool has closed, whoever closed it; rejects when it ended by a failure: `POOL_FAILED` (its threads
   * cannot be started), `STORE_FAILED`.
   */
  readonly closed: Promise<void>;
  readonly #piscina: Piscina;
  readonly #task: Omit<WorkerTask, "port">;
  readonly #onError: (error: Error) => void;
  readonly #onClosed: () => void;
  readonly #stopListening: () => void;
  readonly #running = new Set<Thread>();
  #restarts = 0;
  #failedStarts = 0;
  #starting: number;
  #becomeReady: () => void = () => {};
  #refuse: (error: Error) => void = () => {};
  #becomeClosed: () => void = () => {};
  #closing: Promise<void> | undefined;
  #failure: Error | undefined;

  /** @internal Use `queue.consumeInWorkers()`. */
  constructor(host: PoolHost, module: unknown, options: PoolOptions | undefined) {
    const known = ["threads", "concurrency", "prefetch", "data", "resourceLimits", "onError"] as const;
    const given = readOptions(options, known, "pool options");
    const { threads, data, resourceLimits, ...rest } = given;
    const { concurrency, prefetch, onError } = readConsumeOptions(rest);
    this.threads =
      threads === undefined ? availableParallelism() : integer(threads, "threads", 1, THREADS_MAX);
    const limits = readResourceLimits(resourceLimits);
    const { handle, queue, codec } = host;
    this.#task = {
      handle,
      queue,
      codec,
      module: moduleUrl(module),
      concurrency,
      prefetch,
      data: cloned(data),
    };
    this.#onError = onError;
    this.#onClosed = () => host.remove(this);
    this.#starting = this.threads;
    this.ready = new Promise((resolve, reject) => {
      this.#becomeReady = resolve;
      this.#refuse = reject;
    });
    this.ready.catch(() => {});
    this.closed = new Promise((resolve, reject) => {
      this.#becomeClosed = () => (this.#failure === undefined ? resolve() : reject(this.#failure));
    });
    this.closed.catch(() => {});
    this.#piscina = new Piscina({
      filename: fileURLToPath(new URL("./worker.js", import.meta.url)),
      name: "run",
      minThreads: this.threads,
      maxThreads: this.threads,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // A parked event loop would run no timers and see no wake-ups.
      atomics: "disabled",
      recordTiming: false,
      resourceLimits: limits,
    });
    this.#piscina.on("error", (error: Error) => this.#onError(error));
    this.#stopListening = host.onEnd((error) => {
      if (this.#closing !== undefined) return;
      if (error instanceof MillraceError && error.code === "CLOSED") void this.close({ timeout: 0 });
      else this.#fail(error);
    });
    for (let i = 0; i < this.threads; i++) this.#start(true);
  }

  /** Threads that died and were replaced. */
  get restarts(): number {
    return this.#restarts;
  }

  #start(first: boolean): void {
    const { port1, port2 } = new MessageChannel();
    let starting = true;
    const started = (): void => {
      starting = false;
      this.#failedStarts = 0;
      if (first && --this.#starting === 0) this.#becomeReady();
    };
    port1.on("message", (message: FromWorker) => {
      if (message.type === "ready") started();
      else this.#onError(errorOf(message.code ?? "POOL_FAILED", message.message));
    });
    const run = this.#piscina.run({ ...this.#task, port: port2 }, { transferList: [port2] }) as Promise<void>;
    const thread: Thread = {
      since: performance.now(),
      port: port1,
      done: run.then(
        () => this.#ended(thread, undefined, starting, first),
        (error: Error) => this.#ended(thread, error, starting, first),
      ),
    };
    this.#running.add(thread);
  }

  #ended(thread: Thread, error: Error | undefined, starting: boolean, first: boolean): void {
    thread.port.close();
    this.#running.delete(thread);
    if (this.#closing !== undefined) return;
    const cause = error ?? new MillraceError("POOL_FAILED", "a worker thread stopped taking messages");
    this.#onError(new MillraceError("POOL_FAILED", `a worker thread ended: ${cause.message}`, { cause }));
    if (starting && ++this.#failedStarts >= FAILED_STARTS_MAX) {
      this.#fail(
        new MillraceError("POOL_FAILED", `the agent cannot be started: ${cause.message}`, { cause }),
      );
      return;
    }
    this.#restarts++;
    // A thread that does not live long is not replaced in a hot loop.
    const wait = performance.now() - thread.since < SHORT_LIFE_MS ? RESTART_WAIT_MS : 0;
    setTimeout(() => {
      if (this.#closing === undefined) this.#start(first && starting);
    }, wait);
  }

  #fail(failure: Error): void {
    this.#failure = failure;
    this.#refuse(failure);
    this.#onError(failure);
    void this.close({ timeout: 0 });
  }

  /**
   * Stops taking messages, aborts the handlers' signals and gives them up to `timeout` (default 10,000 ms) to finish;
   * then ends the threads. What was not finished goes back to the queue.
   */
  close(options?: CloseOptions): Promise<void> {
    const timeout = readCloseTimeout(options);
    this.#closing ??= this.#shut(timeout);
    return this.#closing;
  }

  async #shut(timeout: number): Promise<void> {
    this.#stopListening();
    this.#refuse(new MillraceError("CLOSED", "the pool was closed"));
    const message: ToWorker = { type: "close", timeout };
    const threads = [...this.#running];
    for (const thread of threads) thread.port.postMessage(message);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      // A thread whose event loop is blocked does not answer: it is terminated.
      timer = setTimeout(resolve, timeout + 100);
    });
    await Promise.race([Promise.all(threads.map((thread) => thread.done)), late]);
    clearTimeout(timer);
    try {
      await this.#piscina.destroy();
    } finally {
      this.#onClosed();
      this.#becomeClosed();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
