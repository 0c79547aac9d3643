/**
 * A recursion that runs out of stack may be in the middle of a call of ours, and somebody may catch its RangeError: it
 * strikes at any call of a function. So that every promise settles and later calls work, wherever it strikes:
 *
 * - what runs from the event loop or as a promise job has the whole stack;
 * - what adds to a list (a send, an ack) does everything that may throw before the first change;
 * - what changes more than that, of several objects perhaps, asks for room first.
 */
import { binding } from "./binding.js";

const nothing = (): void => {};
/**
 * Arguments of a call take 8 bytes of stack each, and V8 looks for room for all of them before it puts them there: 64 KiB,
 * several times what the deepest call of this package takes. Native code cannot ask: where it goes below V8's limit and
 * calls JavaScript from there, V8 of Node.js 24 and newer ends the process.
 */
const ROOM: readonly unknown[] = new Array(8192).fill(undefined);

/** Where a call came from for which there was room: there is for one that is not deeper, because V8's limit stands. */
let roomFrom = Number.POSITIVE_INFINITY;

/** True: `error` is what V8 throws where the stack ends. Its class alone says too little: a failed allocation has it too. */
export function isOverflow(error: unknown): boolean {
  return error instanceof RangeError && error.message === "Maximum call stack size exceeded";
}

/** Throws a RangeError unless there is stack for what this package does in one call. */
export function ensureStack(): void {
  const from = binding.stackPointer();
  if (from >= roomFrom) return;
  Reflect.apply(nothing, undefined, ROOM as []);
  roomFrom = from;
}
