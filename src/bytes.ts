/** Byte arrays as they are: a subclass or an own property may tell another length than there is. */
import { invalidArgument } from "./errors.js";

const trueLength = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "length")
  ?.get as () => number;

const nothing = new Uint8Array(0);

/** Throws unless the memory behind `array`, which has no elements, is there: it may be detached, or have shrunk. */
export function checkEmpty(array: Uint8Array | Uint32Array, name: string): void {
  try {
    nothing.set(array);
  } catch (cause) {
    throw invalidArgument(`${name} is detached or out of bounds`, { cause });
  }
}

/** `bytes` itself if its `length` is true, else a copy of all that there is. */
export function plainBytes(bytes: Uint8Array, name: string): Uint8Array {
  // Half the time of a bound function.
  const length = trueLength.call(bytes);
  if (length === 0) checkEmpty(bytes, name);
  if (bytes.length === length) return bytes;
  const copy = new Uint8Array(length);
  copy.set(bytes);
  return copy;
}
