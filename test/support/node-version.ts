/** What differs by the version of Node.js, and is Node's own. Whatever adapts to it says so where the tests run. */
import type { ResourceLimits } from "node:worker_threads";

export const nodeMajor = Number(process.versions.node.split(".")[0]);

/** Prints that a test does something else on this version (counted by test/nodes.mjs). */
export function adapted(what: string): void {
  process.stdout.write(`ADAPTED to Node.js ${process.versions.node}: ${what}\n`);
}

/**
 * Limits under which a thread that fills its heap ends alone. Since Node.js 24 V8 may end the whole process instead
 * (nodejs/node issue 47224), with a plain Worker too: where a collection of the young generation meets the limit. With a
 * small young generation that was not seen.
 */
export function smallHeap(): ResourceLimits {
  if (nodeMajor < 24) return { maxOldGenerationSizeMb: 48 };
  adapted("a heap limit may end the whole process; the young generation is kept small");
  return { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 4 };
}
