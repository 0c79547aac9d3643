/** The options of a pool, read before there are threads that could not be told what is wrong with them. */
import { availableParallelism } from "node:os";
import type { ResourceLimits } from "node:worker_threads";
import { invalidArgument, outOfRange } from "../errors.js";
import { integer, readOptions } from "../options.js";
import { readConsumeOptions } from "../receive/consumer.js";

export interface PoolOptions {
  /** Worker threads, 1 to 1,024. Default: the machine's parallelism. */
  threads?: number;
  /** Handlers that run at once in each thread. Default 1. */
  concurrency?: number;
  /** Messages leased ahead by each thread. Default 64 or `concurrency`. */
  prefetch?: number;
  /** Passed to each agent as `context.data`; must be structured-cloneable. */
  data?: unknown;
  /**
   * Limits of each thread in MiB, as in `new Worker`, from what a thread needs to start: `maxOldGenerationSizeMb` 16,
   * `maxYoungGenerationSizeMb` 1, `codeRangeSizeMb` 8, `stackSizeMb` 0.5.
   */
  resourceLimits?: ResourceLimits;
  /** Called each time a thread ended, before it is replaced, and with errors of its consumer. Default: ignored. */
  onError?: (error: Error) => void;
}

export interface ReadPoolOptions {
  readonly threads: number;
  readonly concurrency: number;
  readonly prefetch: number;
  readonly data: unknown;
  readonly resourceLimits: ResourceLimits;
  readonly onError: (error: Error) => void;
}

const THREADS_MAX = 1024;
/**
 * MiB of each limit, least and most. Below the least, V8 ends the whole process when the thread starts (a heap of 2, a
 * stack of 0.2), or a thread has no room for its own modules; far above the most of a stack or a code range V8 ends the
 * process too (Node 20 to 26). What is too much for the system is refused by it, and the thread does not start.
 */
const LIMITS_MB: Readonly<Record<keyof ResourceLimits, readonly [least: number, most: number]>> = {
  maxOldGenerationSizeMb: [16, Number.MAX_SAFE_INTEGER],
  maxYoungGenerationSizeMb: [1, Number.MAX_SAFE_INTEGER],
  codeRangeSizeMb: [8, 4096],
  stackSizeMb: [0.5, 2 ** 20],
};

export function readPoolOptions(options: PoolOptions | undefined): ReadPoolOptions {
  const known = ["threads", "concurrency", "prefetch", "data", "resourceLimits", "onError"] as const;
  const { threads, data, resourceLimits, ...rest } = readOptions(options, known, "pool options");
  return {
    ...readConsumeOptions(rest),
    threads: threads === undefined ? availableParallelism() : integer(threads, "threads", 1, THREADS_MAX),
    data: cloned(data),
    resourceLimits: readResourceLimits(resourceLimits),
  };
}

function cloned(data: unknown): unknown {
  try {
    return structuredClone(data);
  } catch (cause) {
    throw invalidArgument("data must be structured-cloneable", { cause });
  }
}

function readResourceLimits(limits: unknown): ResourceLimits {
  const given = readOptions(limits, Object.keys(LIMITS_MB), "resourceLimits");
  for (const [name, [least, most]] of Object.entries(LIMITS_MB)) {
    const value = given[name];
    if (value === undefined) continue;
    if (typeof value !== "number") throw invalidArgument(`resourceLimits.${name} must be a number`);
    if (!(value >= least && value <= most)) {
      throw outOfRange(`resourceLimits.${name} must be ${least} to ${most} MiB`);
    }
  }
  return { ...given };
}
