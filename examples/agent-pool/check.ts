/** The same counts by the plainest means: one thread, file after file, no queue, nothing split. */
import { join } from "node:path";
import { addCounts, analyse, COUNTED, type Counts, noCounts } from "./analysis.js";
import type { InputList } from "./input.js";
import { readInput } from "./reading.js";
import type { Tally } from "./tally.js";

export interface PlainCount {
  readonly totals: Counts;
  readonly unreadable: number;
}

/** Undefined: interrupted. */
export async function plainCount(
  { root, files }: InputList,
  signal: AbortSignal,
): Promise<PlainCount | undefined> {
  const totals = noCounts();
  let unreadable = 0;
  for (const [file, { path, kind }] of files.entries()) {
    if (signal.aborted) return undefined;
    const bytes = await readInput(join(root, path));
    if (bytes === undefined) unreadable++;
    else addCounts(totals, analyse(bytes.toString("utf8"), { file, kind, line: 1, bytes: bytes.length }));
  }
  return { totals, unreadable };
}

/** One line for each figure that is not the same. */
export function differences(tally: Pick<Tally, "totals" | "unreadable">, plain: PlainCount): string[] {
  const figures: [string, unknown, unknown][] = COUNTED.map((name) => [
    name,
    tally.totals[name],
    plain.totals[name],
  ]);
  figures.push(["unreadable files", tally.unreadable, plain.unreadable]);
  for (const part of ["characters", "file", "line"] as const) {
    figures.push([`longest line (${part})`, tally.totals.longest[part], plain.totals.longest[part]]);
  }
  return figures
    .filter(([, counted, expected]) => counted !== expected)
    .map(([name, counted, expected]) => `${name}: the agents found ${counted}, the plain count ${expected}`);
}
