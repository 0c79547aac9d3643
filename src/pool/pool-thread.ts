/**
 * One worker thread of a pool, from its start to its end: a piscina with one thread and one long-lived task. A thread
 * that ended is not used again and piscina replaces none: once a thread of it died while booting it makes no more, and
 * says so to nobody. When to start another is the pool's decision.
 */
import { fileURLToPath } from "node:url";
import { MessageChannel, type MessagePort, type ResourceLimits } from "node:worker_threads";
import { Piscina } from "piscina";
import { errorOf } from "../errors.js";
import type { FromWorker, ToWorker, WorkerTask } from "./protocol.js";

export interface ThreadListener {
  /** It takes messages from now on. */
  ready(): void;
  /** Its consumer met an error that did not end it. */
  error(error: Error): void;
}

export class PoolThread {
  /** Resolves when the thread's task is over: `undefined` if it returned, else what ended it. */
  readonly ended: Promise<Error | undefined>;
  readonly #piscina: Piscina;
  readonly #port: MessagePort;
  readonly #started = new Float64Array(new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT));
  #made = false;

  constructor(
    task: Omit<WorkerTask, "port" | "started">,
    resourceLimits: ResourceLimits,
    listener: ThreadListener,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.on("message", (message: FromWorker) => {
      if (message.type === "ready") listener.ready();
      else listener.error(errorOf(message.code ?? "POOL_FAILED", message.message));
    });
    this.#piscina = new Piscina({
      filename: fileURLToPath(new URL("./worker.js", import.meta.url)),
      name: "run",
      // None before the task, and none after it.
      minThreads: 0,
      maxThreads: 1,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // A parked event loop would run no timers and see no wake-ups.
      atomics: "disabled",
      recordTiming: false,
      resourceLimits,
    });
    this.ended = this.#run({ ...task, port: port2, started: this.#started }).then(
      () => undefined,
      (error: Error) => error,
    );
  }

  #run(task: WorkerTask): Promise<void> {
    return new Promise((resolve, reject) => {
      // Of a thread that fails before it has its task piscina tells by this event, or not at all if it exits.
      this.#piscina.on("error", reject);
      // Throws where no thread can be made. The promise of that task is lost, and destroy() would reject it.
      const run = this.#piscina.run(task, { transferList: [task.port] }) as Promise<void>;
      this.#made = true;
      run.then(resolve, reject);
      const exited = (code: number): void => reject(new Error(`it exited with code ${code}`));
      // After what piscina says of the same end, which is nearer to the cause.
      this.#piscina.threads[0]?.once("exit", (code) => void Promise.resolve(code).then(exited));
    });
  }

  /** Asks it to take no more and to end when its handlers have, after `timeout` ms at the latest. */
  close(timeout: number): void {
    const message: ToWorker = { type: "close", timeout };
    this.#port.postMessage(message);
  }

  /** Its end will be no failure of what its handlers hold then. */
  forgive(): void {
    this.#started[0] = Number.NEGATIVE_INFINITY;
  }

  /** Ends the thread, whatever it does; resolves when it is gone. */
  async destroy(): Promise<void> {
    this.#port.close();
    if (this.#made) await this.#piscina.destroy();
  }
}
