/** One run of the job, from the first thread that starts to the last result that is folded, or to an interruption. */
import type { Broker, Message } from "millrace";
import { JobError } from "./failures.js";
import type { InputList } from "./input.js";
import { type JobState, STATE_VERSION } from "./job-state.js";
import type { Journal } from "./journal.js";
import type { JobQueues, PieceResult } from "./messages.js";
import type { Options } from "./options.js";
import { Pools } from "./pools.js";
import type { Progress } from "./progress.js";
import { number } from "./report.js";
import { Tally } from "./tally.js";

export interface JobSetup {
  readonly options: Options;
  readonly list: InputList;
  readonly data: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Totals are of the whole job; the rest is of this run, since the broker was opened. */
export interface Figures {
  readonly tally: Tally;
  readonly starts: number;
  readonly ms: number;
  readonly bytes: number;
  readonly messages: number;
  readonly commits: number;
  readonly redelivered: number;
  readonly restarts: number;
}

const FILES_AT_ONCE = 512;
/** Results that are folded before the state is written: what a stop may make the job fold again. */
const FOLD_RESULTS = 256;
/** The broker keeps a fold's messages leased while it is being written, and the next ones come meanwhile. */
const RESULTS_AHEAD = 2 * FOLD_RESULTS;
const KILL_AT = 0.4;
const LOOK_FOR_DEAD_MS = 250;
/** Ctrl-C should take no longer. */
export const CLOSE_MS = 1000;

export class Run {
  readonly #setup: JobSetup;
  readonly #broker: Broker;
  readonly #queues: JobQueues;
  readonly #journal: Journal;
  readonly #tally: Tally;
  readonly #starts: number;
  readonly #failed = new AbortController();
  readonly #stop: AbortSignal;
  readonly #startedAt = performance.now();
  #enqueued: number;

  constructor(setup: JobSetup, broker: Broker, queues: JobQueues, journal: Journal) {
    this.#setup = setup;
    this.#broker = broker;
    this.#queues = queues;
    this.#journal = journal;
    this.#tally = new Tally(setup.list.files.length, journal.found?.tally);
    this.#starts = (journal.found?.starts ?? 0) + 1;
    this.#enqueued = journal.found?.enqueued ?? 0;
    this.#stop = AbortSignal.any([setup.signal, this.#failed.signal]);
  }

  async finish(): Promise<Figures | undefined> {
    const tally = this.#tally;
    const before = tally.totals.bytes;
    if (this.#starts > 1) this.#setup.progress.say(`continuing: ${this.#describeProgress()} done`);
    const pools = this.#startPools();
    const watch = setInterval(() => this.#lookForDead(), LOOK_FOR_DEAD_MS);
    try {
      await this.#enqueueFiles();
      await this.#foldResults();
      this.#failed.signal.throwIfAborted();
      if (!tally.done) return undefined;
      const bytes = tally.totals.bytes - before;
      return { tally, starts: this.#starts, bytes, restarts: pools.restarts, ...this.#brokerFigures() };
    } finally {
      this.#setup.progress.clear();
      clearInterval(watch);
      await pools.close(CLOSE_MS);
    }
  }

  #startPools(): Pools {
    const { options, list, progress } = this.#setup;
    const left = list.files.reduce(
      (sum, { bytes }, file) => sum + (this.#tally.isComplete(file) ? 0 : bytes),
      0,
    );
    return new Pools(this.#queues, {
      root: list.root,
      threads: options.threads,
      killAtBytes: options.kill ? Math.ceil(left * KILL_AT) : 0,
      onError: (text) => progress.say(text),
      onFailure: (error) => this.#failed.abort(error),
    });
  }

  /** A stop between a batch and its state makes the next run send the batch again: then the tally drops the rest. */
  async #enqueueFiles(): Promise<void> {
    const { files } = this.#setup.list;
    await this.#journal.save(this.#state());
    while (this.#enqueued < files.length && !this.#stop.aborted) {
      const first = this.#enqueued;
      const some = files.slice(first, first + FILES_AT_ONCE);
      await this.#queues.files.sendBatch(
        some.map(({ path, kind, bytes }, at) => ({ file: first + at, path, kind, bytes })),
      );
      this.#enqueued += some.length;
      await this.#journal.save(this.#state());
    }
  }

  async #foldResults(): Promise<void> {
    const folded: Message<PieceResult>[] = [];
    const results = this.#queues.results.receive({ prefetch: RESULTS_AHEAD, signal: this.#stop });
    while (!this.#tally.done) {
      const { value: message, done } = await results.next();
      if (done) break;
      this.#tally.add(message.body);
      folded.push(message);
      this.#setup.progress.update(this.#tally.complete / this.#setup.list.files.length, () =>
        this.#describeProgress(),
      );
      // What a killed process had in its hands comes one at a time: the next when this one is settled.
      const alone = message.redelivered;
      if (alone || folded.length === FOLD_RESULTS) await this.#journal.save(this.#state(), folded.splice(0));
    }
    await this.#journal.save(this.#state(), folded);
    await results.close();
  }

  #lookForDead(): void {
    if (this.#queues.dead.stats().ready === 0) return;
    const [message] = this.#queues.dead.peek(1);
    const { queue, reason, deliveryCount } = message?.deadLetter ?? {};
    const what = `a message of "${queue}" failed ${deliveryCount} times: ${reason}`;
    this.#failed.abort(new JobError(`the job cannot be finished: ${what}`));
  }

  #state(): JobState {
    const { root, hash, files } = this.#setup.list;
    const [enqueued, starts, tally] = [this.#enqueued, this.#starts, this.#tally.toState()];
    return { version: STATE_VERSION, root, files: files.length, hash, enqueued, starts, tally };
  }

  #describeProgress(): string {
    const { complete, pieces } = this.#tally;
    const files = this.#setup.list.files.length;
    return `files ${number(complete)} of ${number(files)}, pieces ${number(pieces)}`;
  }

  #brokerFigures(): Pick<Figures, "ms" | "messages" | "commits" | "redelivered"> {
    const { files, pieces, results, summary } = this.#queues;
    const stats = [files, pieces, results, summary].map((queue) => queue.stats());
    return {
      ms: performance.now() - this.#startedAt,
      messages: stats.reduce((sum, { sent }) => sum + sent, 0),
      redelivered: stats.reduce((sum, { redelivered }) => sum + redelivered, 0),
      commits: this.#broker.stats().commits,
    };
  }
}
