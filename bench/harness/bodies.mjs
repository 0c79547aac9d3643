// Messages that prove their own identity. Byte bodies: a running number first, its mix last, a pattern between.
// The first and last word of every message are checked, and every 64th is compared byte for byte; beside that the
// engine checks the checksum of each durable message when it hands it out.

const mix = (number) => Math.imul(number ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
const WHOLE_EVERY = 64;

/** A body of `bytes` (at least 8) with its pattern; number() makes it a message. */
export function body(bytes) {
  const made = Buffer.from(new ArrayBuffer(bytes));
  for (let i = 0; i < bytes; i++) made[i] = (i * 31 + 7) & 255;
  return made;
}

export function number(made, index) {
  made.writeUInt32LE(index, 0);
  made.writeUInt32LE(mix(index), made.length - 4);
}

/** readUInt32LE without its checks: the receiver's own work should not be what is measured. */
const wordAt = (bytes, at) =>
  (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;

/** The same for codec `json`: an object of about 120 bytes as JSON. */
export function objectOf(index) {
  return {
    id: index,
    check: mix(index) >>> 1,
    kind: "page.viewed",
    user: "ada.lovelace@example.org",
    path: "/docs/queues/durability",
    ms: 12,
  };
}

const COUNTERS = 2;
const DAMAGED = 0;
const TWICE = 1;

/** What arrived, in memory that the threads share: sender and receivers each make one of the same buffer. */
export class Arrivals {
  #counters;
  #seen;
  #whole;

  static create(messages, bytes) {
    return new Arrivals({ buffer: new SharedArrayBuffer(4 * COUNTERS + messages), bytes });
  }

  /** @param shared what `shared` of another one returns */
  constructor(shared) {
    this.shared = shared;
    this.#counters = new Int32Array(shared.buffer, 0, COUNTERS);
    this.#seen = new Uint8Array(shared.buffer, 4 * COUNTERS);
    this.#whole = body(shared.bytes);
  }

  bytes(received) {
    const end = received.length - 4;
    const index = end >= 4 ? wordAt(received, 0) : -1;
    const intact =
      end === this.#whole.length - 4 &&
      wordAt(received, end) === mix(index) &&
      (index % WHOLE_EVERY !== 0 || received.compare(this.#whole, 4, end, 4, end) === 0);
    this.#note(index, intact);
  }

  object(received) {
    const { id, check } = received;
    const intact =
      check === mix(id) >>> 1 &&
      (id % WHOLE_EVERY !== 0 || JSON.stringify(received) === JSON.stringify(objectOf(id)));
    this.#note(id, intact);
  }

  #note(index, intact) {
    if (!intact || index >= this.#seen.length) Atomics.add(this.#counters, DAMAGED, 1);
    else if (Atomics.add(this.#seen, index, 1) !== 0) Atomics.add(this.#counters, TWICE, 1);
  }

  /** Throws unless messages 0 to count - 1 arrived, once each and intact; then forgets them. */
  verify(count) {
    let missing = 0;
    for (let i = 0; i < count; i++) if (this.#seen[i] === 0) missing++;
    const [damaged, twice] = this.#counters;
    if (missing + damaged + twice > 0) {
      throw new Error(
        `of ${count} messages ${missing} are missing, ${damaged} damaged, ${twice} arrived twice`,
      );
    }
    this.#seen.fill(0);
  }
}
