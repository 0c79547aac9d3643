/**
 * What is counted in a text. Everything is a property of single lines, which makes counts additive: the count of a file
 * is the sum of the counts of its pieces, whatever the pieces are, as long as they end at line ends.
 */
export type FileKind = "markdown" | "code" | "text";

export interface LongestLine {
  readonly characters: number;
  /** Index in the list of files. */
  readonly file: number;
  /** From 1; 0: there was no line. */
  readonly line: number;
}

/** The numbers that are simply added. */
export const COUNTED = ["bytes", "lines", "words", "links", "fences", "headings", "exports"] as const;

export type Counts = Record<(typeof COUNTED)[number], number> & { longest: LongestLine };

/** Where a text stands. */
export interface Origin {
  readonly file: number;
  readonly kind: FileKind;
  /** Number of its first line in the file, from 1. */
  readonly line: number;
  /** Its size in the file: decoding may have replaced bytes that are not UTF-8. */
  readonly bytes: number;
}

const WORD = /\S+/g;
/** The target of a Markdown link, or a bare address. */
const LINK = /\]\([^)\s]+\)|\bhttps?:\/\/[^\s<>()"'`\]]+/g;
/** The line that opens or closes a code block, in a comment too. */
const FENCE = /^[ \t]*(?:\*[ \t]+)?(?:```|~~~)/gm;
const HEADING = /^#{1,6}[ \t]/gm;
const EXPORT = /^[ \t]*export\b/gm;

export function noCounts(): Counts {
  const longest = { characters: 0, file: 0, line: 0 };
  return { bytes: 0, lines: 0, words: 0, links: 0, fences: 0, headings: 0, exports: 0, longest };
}

export function analyse(text: string, origin: Origin): Counts {
  const counts = noCounts();
  counts.bytes = origin.bytes;
  counts.words = matches(text, WORD);
  counts.links = matches(text, LINK);
  counts.fences = matches(text, FENCE);
  if (origin.kind === "markdown") counts.headings = matches(text, HEADING);
  if (origin.kind === "code") counts.exports = matches(text, EXPORT);
  measureLines(text, origin, counts);
  return counts;
}

export function addCounts(sum: Counts, more: Counts): void {
  for (const name of COUNTED) sum[name] += more[name];
  if (longer(more.longest, sum.longest)) sum.longest = more.longest;
}

function matches(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

function measureLines(text: string, { file, line }: Origin, counts: Counts): void {
  for (let start = 0; start < text.length; counts.lines++) {
    const end = text.indexOf("\n", start);
    const characters = (end === -1 ? text.length : end) - start;
    const candidate = { characters, file, line: line + counts.lines };
    if (longer(candidate, counts.longest)) counts.longest = candidate;
    start = end === -1 ? text.length : end + 1;
  }
}

/** Of equal lines the first one counts, so that the order in which pieces arrive does not matter. */
function longer(a: LongestLine, b: LongestLine): boolean {
  if (a.characters !== b.characters) return a.characters > b.characters;
  if (a.file !== b.file) return a.file < b.file;
  return a.line < b.line;
}
