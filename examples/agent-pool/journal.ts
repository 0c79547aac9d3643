/**
 * The `summary` queue as a memory that survives any stop. Its newest message is the job's state; an older one is acked
 * only after the newer one is on the disk, so there is always one to read.
 */
import type { Message, MessageStream, Queue } from "millrace";
import type { JobState } from "./job-state.js";

/** One, or two after a stop between a save and its ack. */
const STATES_MAX = 64;

export class Journal {
  readonly #queue: Queue<JobState>;
  readonly #older: MessageStream<JobState>;
  /** What an earlier run left; undefined: there was none. */
  readonly found: JobState | undefined;
  #kept: number;

  constructor(queue: Queue<JobState>) {
    const states = queue.peek(STATES_MAX);
    this.#queue = queue;
    this.#kept = states.length;
    this.found = states.at(-1)?.body;
    // One at a time: the newest stays in the queue for peek().
    this.#older = queue.receive({ prefetch: 1 });
  }

  /**
   * Makes `state` the newest; when it is on the disk, acks the messages that are accounted for in it, then the older
   * states. A stop before the acks brings messages back that the state has seen already.
   */
  async save(state: JobState, settled: Iterable<Message<unknown>> = []): Promise<void> {
    await this.#queue.send(state);
    for (const message of settled) void message.ack();
    for (; this.#kept > 0; this.#kept--) {
      const { value, done } = await this.#older.next();
      if (done) return;
      void value.ack();
    }
    this.#kept = 1;
  }
}
