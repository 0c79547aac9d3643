/** Message headers: text to text, at most 65,535 bytes together, in a map without a prototype. */
import { invalidArgument, MillraceError } from "./errors.js";
import { entriesOf } from "./options.js";

export type Headers = { readonly [name: string]: string };

/** Each header is u16 name length, name, u16 value length, value. */
export function encodeHeaders(headers: unknown): Uint8Array | undefined {
  const parts: Buffer[] = [];
  for (const [name, value] of entriesOf(headers, "headers")) {
    if (typeof value !== "string") throw invalidArgument(`header "${name}" must be a string`);
    for (const text of [name, value]) {
      if (!text.isWellFormed()) throw invalidArgument(`header "${name}" has half of a surrogate pair`);
      const bytes = Buffer.from(text);
      if (bytes.length > 0xffff) throw invalidArgument(`header "${name}" has more than 65535 bytes`);
      const length = Buffer.alloc(2);
      length.writeUInt16LE(bytes.length);
      parts.push(length, bytes);
    }
  }
  return parts.length === 0 ? undefined : Buffer.concat(parts);
}

export function decodeHeaders(bytes: Buffer): Headers {
  const headers: Record<string, string> = Object.create(null);
  let at = 0;
  const text = (): string => {
    if (at + 2 > bytes.length) throw new MillraceError("CORRUPT", "headers end early");
    const end = at + 2 + bytes.readUInt16LE(at);
    if (end > bytes.length) throw new MillraceError("CORRUPT", "headers end early");
    const value = bytes.toString("utf8", at + 2, end);
    at = end;
    return value;
  };
  while (at < bytes.length) {
    const name = text();
    headers[name] = text();
  }
  return headers;
}
