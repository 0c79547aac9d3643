// Messages that prove their own identity: a running number first, its mix last.

const mix = (number) => Math.imul(number ^ 0x9e3779b9, 0x85ebca6b) >>> 0;

/** Writes message `number` of `size` bytes at byte `at` of a Uint32Array. */
export function write(words, at, size, number) {
  words[at >> 2] = number;
  words[(at + size - 4) >> 2] = mix(number);
}

/** Checks that messages arrive once, in order, intact. */
export class Verifier {
  count = 0;
  wrong = 0;
  #size;
  #words;

  constructor(size) {
    this.#size = size;
  }

  over(bytes) {
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  }

  check(at) {
    const words = this.#words;
    const number = words[at >> 2];
    if (number !== this.count || words[(at + this.#size - 4) >> 2] !== mix(number)) this.wrong++;
    this.count++;
  }

  checkArray(bytes) {
    if (bytes.length !== this.#size) this.wrong++;
    this.over(bytes);
    this.check(0);
  }

  verdict(count) {
    return { ok: this.count === count && this.wrong === 0, count: this.count, wrong: this.wrong };
  }
}

/** Which messages were taken, in memory that several consumers share. */
export class Claims {
  #taken;
  #seen;
  #wrong;

  static create(count) {
    return new Claims(new SharedArrayBuffer(8 + count));
  }

  constructor(buffer) {
    this.buffer = buffer;
    this.#taken = new Int32Array(buffer, 0, 1);
    this.#wrong = new Int32Array(buffer, 4, 1);
    this.#seen = new Uint8Array(buffer, 8);
  }

  /** How many were taken so far, by everybody. */
  get taken() {
    return Atomics.load(this.#taken, 0);
  }

  /** Notes the `popped` messages of `size` bytes that `words` begins with. */
  note(words, popped, size) {
    for (let at = 0; at < popped * size; at += size) {
      const number = words[at >> 2];
      const first = number < this.#seen.length && Atomics.add(this.#seen, number, 1) === 0;
      if (!first || words[(at + size - 4) >> 2] !== mix(number)) Atomics.add(this.#wrong, 0, 1);
    }
    Atomics.add(this.#taken, 0, popped);
  }

  verify(count) {
    const wrong = Atomics.load(this.#wrong, 0);
    if (wrong > 0 || this.taken !== count || this.#seen.includes(0)) {
      throw new Error(`messages were lost or damaged: ${this.taken} of ${count} taken, ${wrong} wrong`);
    }
  }
}
