/** A set of small whole numbers that fits into a message: one bit each, as base64. */
export class BitSet {
  readonly #bits: Uint8Array;
  #size = 0;

  /** For numbers from 0 to `limit` - 1; others are never in it. */
  constructor(limit: number, encoded = "") {
    this.#bits = new Uint8Array((limit + 7) >> 3);
    this.#bits.set(Buffer.from(encoded, "base64").subarray(0, this.#bits.length));
    for (let bits of this.#bits) for (; bits > 0; bits &= bits - 1) this.#size++;
  }

  get size(): number {
    return this.#size;
  }

  has(number: number): boolean {
    return ((this.#bits[number >> 3] ?? 0) & (1 << (number & 7))) !== 0;
  }

  add(number: number): void {
    if (this.has(number) || number >> 3 >= this.#bits.length) return;
    this.#bits[number >> 3] = (this.#bits[number >> 3] ?? 0) | (1 << (number & 7));
    this.#size++;
  }

  toString(): string {
    return Buffer.from(this.#bits).toString("base64");
  }
}
