/**
 * How a file is read: by the agents of stage one and by the plain count alike, so that both set aside the same files.
 */
import { open } from "node:fs/promises";

/** The whole file is in memory while it is split. */
const FILE_BYTES_MAX = 64 << 20;
/** A line is never cut. As JSON it can take six times its bytes; see MESSAGE_BYTES_MAX. */
export const LINE_BYTES_MAX = 512 << 10;

const LINE_END = 10;

/** The bytes of a file, or undefined for one that cannot be read, is too large or has too long a line. */
export async function readInput(path: string): Promise<Buffer | undefined> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > FILE_BYTES_MAX) return undefined;
    const bytes = await file.readFile();
    return longestLine(bytes) > LINE_BYTES_MAX ? undefined : bytes;
  } catch {
    return undefined;
  }
}

/** In bytes, with its line end. */
function longestLine(bytes: Buffer): number {
  let longest = 0;
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(LINE_END, start) + 1 || bytes.length;
    longest = Math.max(longest, end - start);
    start = end;
  }
  return longest;
}
