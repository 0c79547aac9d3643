/**
 * The job: files go into the first queue, two stages of agents work, and their results are folded into a state that is
 * made durable from time to time, so that a stop at any moment costs little and loses nothing.
 */
import { Broker, MillraceError } from "millrace";
import { UsageError } from "./failures.js";
import { checkSameJob } from "./job-state.js";
import { Journal } from "./journal.js";
import { MESSAGE_BYTES_MAX, openQueues, SEGMENT_BYTES } from "./messages.js";
import { CLOSE_MS, type Figures, type JobSetup, Run } from "./run.js";

/** Runs or continues the job; undefined: interrupted. Throws UsageError, JobError and what the broker throws. */
export async function runJob(setup: JobSetup): Promise<Figures | undefined> {
  const broker = await openBroker(setup.data);
  try {
    const queues = await openQueues(broker);
    const journal = new Journal(queues.summary);
    if (journal.found !== undefined) checkSameJob(journal.found, setup.list, setup.data);
    return await new Run(setup, broker, queues, journal).finish();
  } finally {
    await broker.close({ timeout: CLOSE_MS });
  }
}

async function openBroker(dir: string): Promise<Broker> {
  try {
    return await Broker.open({ dir, segmentBytes: SEGMENT_BYTES, maxMessageBytes: MESSAGE_BYTES_MAX });
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== "STORE_LOCKED") throw error;
    throw new UsageError(`${dir} is in use by another process: let it finish, or give other data`);
  }
}
