/**
 * How a file becomes pieces. A piece ends where a line ends (or where the file does), so that no word, no link and no
 * UTF-8 sequence is ever in two pieces: counts of pieces add up to the count of the file.
 */
export interface Slice {
  readonly start: number;
  readonly end: number;
  /** Number, from 1, of its first line. */
  readonly line: number;
}

export const PIECE_BYTES = 4096;
const LINE_END = 10;

/** Slices of at most `target` bytes, except where one line is longer. An empty file is one empty slice. */
export function split(bytes: Buffer, target = PIECE_BYTES): Slice[] {
  if (bytes.length === 0) return [{ start: 0, end: 0, line: 1 }];
  const slices: Slice[] = [];
  let line = 1;
  for (let start = 0; start < bytes.length; ) {
    const end = endOfSlice(bytes, start, target);
    slices.push({ start, end, line });
    line += countLineEnds(bytes, start, end);
    start = end;
  }
  return slices;
}

function endOfSlice(bytes: Buffer, start: number, target: number): number {
  if (bytes.length - start <= target) return bytes.length;
  const before = bytes.lastIndexOf(LINE_END, start + target - 1);
  if (before >= start) return before + 1;
  // One line longer than the target: it stays whole.
  return bytes.indexOf(LINE_END, start + target) + 1 || bytes.length;
}

function countLineEnds(bytes: Buffer, start: number, end: number): number {
  let count = 0;
  for (let at = bytes.indexOf(LINE_END, start); at !== -1 && at < end; at = bytes.indexOf(LINE_END, at + 1)) {
    count++;
  }
  return count;
}
