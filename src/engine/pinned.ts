/**
 * Memory that several messages lie in. Whoever has a view of it has all of it (`view.buffer`) and may try to transfer it
 * to another thread, which would take the other messages along. Node.js has the same trouble with its pool of small
 * Buffers, and the same answer: such memory is marked as untransferable. Then `structuredClone` and `postMessage` refuse
 * to transfer it (Node.js 20: they copy it), and from Node.js 24 on `transfer()` and byte streams refuse as well.
 */
import { markAsUntransferable } from "node:worker_threads";

const refused = {
  value(): never {
    throw new TypeError("this memory belongs to several messages: copy what you want to transfer");
  },
};

/** What the mark does not stop here: Node.js 22 has `transfer()` and does not look at it. */
const unstopped = ["transfer", "transferToFixedLength"].filter((method) => {
  const memory = new ArrayBuffer(1);
  markAsUntransferable(memory);
  try {
    (memory as unknown as Record<string, (() => void) | undefined>)[method]?.();
  } catch {
    // Stopped, as it should be.
  }
  return memory.byteLength === 0;
});

/** Makes `memory` stay where it is. */
export function pin(memory: ArrayBuffer): void {
  markAsUntransferable(memory);
  for (const method of unstopped) Object.defineProperty(memory, method, refused);
}
