/** The worker threads of both stages, and the death of one of them in the middle. */
import type { WorkerPool } from "millrace";
import type { CountData } from "./count-agent.js";
import { JobError } from "./failures.js";
import type { JobQueues } from "./messages.js";
import type { SplitData } from "./split-agent.js";

export interface PoolSettings {
  readonly root: string;
  /** Worker threads of each stage. */
  readonly threads: number;
  /** The thread of stage two that takes the stage over this number of bytes dies there; 0: none does. */
  readonly killAtBytes: number;
  /** A thread died and is being replaced, or had an error that it survives. */
  readonly onError: (text: string) => void;
  /** The threads cannot do the work. */
  readonly onFailure: (error: JobError) => void;
}

/** Files, or pieces, in work at once in one thread: their commits are shared. */
const SPLIT_CONCURRENCY = 4;
const COUNT_CONCURRENCY = 64;
/** Below the number of vain starts after which a pool gives up, or the job would wait for it forever. */
const ERRORS_MAX = 4;

export class Pools {
  readonly #settings: PoolSettings;
  readonly #split: WorkerPool;
  readonly #count: WorkerPool;
  readonly #begun = new SharedArrayBuffer(8);
  #killed = false;
  #errors = 0;

  constructor(queues: JobQueues, settings: PoolSettings) {
    const { root, threads, killAtBytes } = settings;
    this.#settings = settings;
    const splitData: SplitData = { root };
    const countData: CountData = { begun: this.#begun, killAtBytes };
    this.#split = queues.files.consumeInWorkers(new URL("./split-agent.js", import.meta.url), {
      threads,
      concurrency: SPLIT_CONCURRENCY,
      prefetch: SPLIT_CONCURRENCY * 2,
      data: splitData,
      onError: (error) => this.#note(`reading: ${error.message}`),
    });
    this.#count = queues.pieces.consumeInWorkers(new URL("./count-agent.js", import.meta.url), {
      threads,
      concurrency: COUNT_CONCURRENCY,
      prefetch: COUNT_CONCURRENCY * 2,
      data: countData,
      onError: (error) => {
        if (!this.#isTheKill()) this.#note(`counting: ${error.message}`);
      },
    });
  }

  /** Threads that died and were replaced. */
  get restarts(): number {
    return this.#split.restarts + this.#count.restarts;
  }

  async close(timeout: number): Promise<void> {
    await Promise.all([this.#split.close({ timeout }), this.#count.close({ timeout })]);
  }

  /** The first death after the agents' own mark was passed: see count-agent.ts. */
  #isTheKill(): boolean {
    const { killAtBytes, onError } = this.#settings;
    const begun = Number(Atomics.load(new BigInt64Array(this.#begun), 0));
    if (this.#killed || killAtBytes === 0 || begun < killAtBytes) return false;
    this.#killed = true;
    onError("counting: a worker thread was killed on purpose; another takes its place");
    return true;
  }

  #note(text: string): void {
    if (++this.#errors > ERRORS_MAX) this.#settings.onFailure(new JobError(`agents keep failing: ${text}`));
    else this.#settings.onError(text);
  }
}
