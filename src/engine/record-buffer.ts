/** Message records as senders write them, one behind the other: the bytes that native/log/record.h describes. */
import { MillraceError, outOfRange } from "../errors.js";
import { binding } from "./binding.js";

const HEADER_BYTES_MAX = 65_535;

/** Read once: a property of `binding.layout` would be looked up for every message. */
const {
  bytes: BYTES,
  kind: KIND,
  queue: QUEUE,
  bodyBytes: BODY_BYTES,
  extensionBytes: EXTENSION_BYTES,
  content: CONTENT,
  align: ALIGN,
  messageKind: MESSAGE_KIND,
} = binding.layout;

interface Memory {
  readonly buffer: Buffer;
  readonly words: Int32Array;
}

function allocate(bytes: number): Memory {
  const memory = new ArrayBuffer(bytes);
  return { buffer: Buffer.from(memory), words: new Int32Array(memory, 0, bytes >> 2) };
}

/** Records written one behind the other. */
export class RecordBuffer {
  buffer: Buffer;
  used = 0;
  #words: Int32Array;
  readonly #initial: Memory;

  constructor(bytes: number) {
    this.#initial = allocate(bytes);
    this.buffer = this.#initial.buffer;
    this.#words = this.#initial.words;
  }

  /**
   * Writes a message record at the end, growing if needed, and returns where it ends: it counts once `used` is set to
   * that. Its native fields are filled in by the engine.
   */
  write(
    queue: number,
    headers: Uint8Array | undefined,
    body: Uint8Array | string,
    bodyBytesMax: number,
  ): number {
    const headerBytes = headers === undefined ? 0 : headers.length;
    // A UTF-16 unit takes at most three bytes of UTF-8.
    const worst = typeof body === "string" ? body.length * 3 : body.length;
    if (headerBytes > HEADER_BYTES_MAX)
      throw outOfRange(`headers must have at most ${HEADER_BYTES_MAX} bytes`);
    const start = this.used;
    const content = start + CONTENT;
    this.#reserve(content + headerBytes + Math.min(worst, bodyBytesMax + 4) + ALIGN);
    const buffer = this.buffer;
    if (headers !== undefined) buffer.set(headers, content);
    const at = content + headerBytes;
    let bodyBytes: number;
    if (typeof body === "string") {
      bodyBytes = worst <= bodyBytesMax + 4 ? buffer.write(body, at, worst, "utf8") : Buffer.byteLength(body);
      if (bodyBytes <= bodyBytesMax && worst > bodyBytesMax + 4) buffer.write(body, at, bodyBytes, "utf8");
    } else {
      bodyBytes = body.length;
      if (bodyBytes <= bodyBytesMax) buffer.set(body, at);
    }
    if (headerBytes + bodyBytes > bodyBytesMax) {
      throw new MillraceError(
        "MESSAGE_TOO_LARGE",
        `a message has at most ${bodyBytesMax} bytes of headers and body`,
      );
    }
    const end = at + bodyBytes;
    const next = (end + ALIGN - 1) & -ALIGN;
    for (let i = end; i < next; i++) buffer[i] = 0;
    const words = this.#words;
    const word = start >> 2;
    words[word + (BYTES >> 2)] = next - start;
    words[word + (KIND >> 2)] = MESSAGE_KIND | (headerBytes << 16);
    words[word + (QUEUE >> 2)] = queue;
    words[word + (BODY_BYTES >> 2)] = bodyBytes;
    words[word + (EXTENSION_BYTES >> 2)] = 0;
    return next;
  }

  /** Forgets the records, and gives the memory back if it has become more than `kept` bytes. Never throws. */
  clear(kept: number): void {
    this.used = 0;
    if (this.buffer.length <= kept) return;
    this.buffer = this.#initial.buffer;
    this.#words = this.#initial.words;
  }

  /** Where each record begins, and where the last one ends. */
  starts(): number[] {
    const starts = [0];
    for (let at = 0; at < this.used; starts.push(at)) at += this.#words[(at + BYTES) >> 2] as number;
    return starts;
  }

  appendRecord(record: Uint8Array): void {
    this.#reserve(this.used + record.length);
    this.buffer.set(record, this.used);
    this.used += record.length;
  }

  #reserve(bytes: number): void {
    const { buffer, used } = this;
    if (bytes <= buffer.length) return;
    const larger = allocate(Math.max(buffer.length * 2, Math.ceil(bytes / 8) * 8));
    larger.buffer.set(buffer.subarray(0, used));
    this.buffer = larger.buffer;
    this.#words = larger.words;
  }
}
