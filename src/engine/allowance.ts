/** How many bytes may wait for room in one thread: some for each queue, whatever the others have, and a shared pot. */

const OWN_BYTES = 1 << 20;
const POT_BYTES = 256 << 20;
/** Of the pot, for one queue: one that is full leaves room for the next. */
const SHARE_BYTES_MAX = POT_BYTES / 2;

const beyondOwn = (bytes: number): number => Math.max(0, bytes - OWN_BYTES);

export class Allowance {
  /** By queue; none that has nothing. */
  readonly #waiting = new Map<number, number>();
  /** Taken from the pot. */
  #pot = 0;

  /** May so many more wait for `queue`? The first message or batch always may, however large it is. */
  allows(queue: number, bytes: number): boolean {
    const before = this.#waiting.get(queue);
    if (before === undefined) return true;
    const share = beyondOwn(before + bytes);
    const more = share - beyondOwn(before);
    return more === 0 || (share <= SHARE_BYTES_MAX && this.#pot + more <= POT_BYTES);
  }

  /** `bytes` more wait for `queue`, or less if negative. */
  add(queue: number, bytes: number): void {
    const before = this.#waiting.get(queue) ?? 0;
    const after = before + bytes;
    this.#pot += beyondOwn(after) - beyondOwn(before);
    if (after > 0) this.#waiting.set(queue, after);
    else this.#waiting.delete(queue);
  }

  clear(): void {
    this.#waiting.clear();
    this.#pot = 0;
  }
}
