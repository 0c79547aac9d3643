/** What a message of the `summary` queue holds: all that is needed to go on after a stop of any kind. */
import type { Counts } from "./analysis.js";
import { UsageError } from "./failures.js";
import type { InputList } from "./input.js";

export interface TallyState {
  readonly totals: Counts;
  readonly pieces: number;
  readonly unreadable: number;
  readonly duplicates: number;
  /** BitSet of the files of which everything was counted. */
  readonly complete: string;
  /** The files of which something was counted: few, because files are read in order. */
  readonly partial: readonly { readonly file: number; readonly pieces: number; readonly seen: string }[];
}

export interface JobState {
  readonly version: typeof STATE_VERSION;
  readonly root: string;
  readonly files: number;
  /** Of the list of files. */
  readonly hash: string;
  /** Files that were put into the queue, at least; those after it may have been. */
  readonly enqueued: number;
  /** How often the job was started. */
  readonly starts: number;
  readonly tally: TallyState;
}

export const STATE_VERSION = 1;

/** Throws UsageError if the state found is not of the job over these files: their indices would mean something else. */
export function checkSameJob(found: JobState, list: InputList, data: string): void {
  if (found?.version !== STATE_VERSION) {
    throw new UsageError(`${data} holds something that this version of the job does not know`);
  }
  if (found.root !== list.root) {
    throw new UsageError(`${data} holds a job over ${found.root}: give that directory, or other data`);
  }
  if (found.files !== list.files.length || found.hash !== list.hash) {
    throw new UsageError(`the files under ${list.root} have changed since the job in ${data} was begun`);
  }
}
