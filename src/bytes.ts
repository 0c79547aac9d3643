/** Byte arrays as they are: a subclass or an own property may tell another length than there is. */

const trueLength = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "length")
  ?.get as () => number;

/** `bytes` itself if its `length` is true, else a copy of all that there is. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  // Half the time of a bound function.
  const length = trueLength.call(bytes);
  if (bytes.length === length) return bytes;
  const copy = new Uint8Array(length);
  copy.set(bytes);
  return copy;
}
