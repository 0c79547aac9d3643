/** How the body of a message becomes bytes and back. */
import { isUtf8 } from "node:buffer";
import { types } from "node:util";
import { plainBytes } from "./bytes.js";
import { invalidArgument, MillraceError } from "./errors.js";

export type CodecName = "json" | "bytes" | "text";

/** Memory that messages lie in, and a Buffer of all of it: reading `buffer.buffer` costs as much as making a view. */
export interface Source {
  readonly memory: ArrayBuffer;
  readonly buffer: Buffer;
}

/** The class that Buffers are instances of. Its constructor takes half the time of `subarray`. */
const BufferView = (Buffer as unknown as { [Symbol.species]: typeof Buffer })[
  Symbol.species
] as unknown as new (
  memory: ArrayBuffer,
  offset: number,
  bytes: number,
) => Buffer;

/** Bytes [start, end) of `source`, not copied. */
export function viewOf(source: Source, start: number, end: number): Buffer {
  return new BufferView(source.memory, start, end - start);
}

export interface Codec {
  readonly name: CodecName;
  /** Text is written as UTF-8. Throws a TypeError with a code for what it cannot encode. */
  encode(body: unknown): string | Uint8Array;
  /** Reads bytes [start, end) of `source`, which may be kept. Throws CODEC_FAILED. */
  decode(source: Source, start: number, end: number): unknown;
}

/** Text that was written by `text` or `json`; bytes that are not UTF-8 are refused, not replaced. */
function readText(source: Source, start: number, end: number): string {
  const text = source.buffer.toString("utf8", start, end);
  // A replacement character is the only sign of bytes that are no UTF-8; it may have been sent as well.
  if (text.includes("\ufffd") && !isUtf8(viewOf(source, start, end))) {
    throw new MillraceError("CODEC_FAILED", "the body is not UTF-8");
  }
  return text;
}

const json: Codec = {
  name: "json",
  encode(body) {
    let text: string | undefined;
    try {
      text = JSON.stringify(body);
    } catch (cause) {
      throw invalidArgument("the body cannot be written as JSON", { cause });
    }
    if (text === undefined) throw invalidArgument("the body cannot be written as JSON");
    return text;
  },
  decode(source, start, end) {
    const text = readText(source, start, end);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new MillraceError("CODEC_FAILED", "the body is not JSON", { cause });
    }
  },
};

const bytes: Codec = {
  name: "bytes",
  encode(body) {
    if (!types.isUint8Array(body)) throw invalidArgument("the body must be a Uint8Array (codec: bytes)");
    return plainBytes(body, "the body");
  },
  decode: viewOf,
};

const text: Codec = {
  name: "text",
  encode(body) {
    if (typeof body !== "string") throw invalidArgument("the body must be a string (codec: text)");
    if (!body.isWellFormed()) throw invalidArgument("the body has half of a surrogate pair");
    return body;
  },
  decode: readText,
};

export const codecs: Readonly<Record<CodecName, Codec>> = { json, bytes, text };
