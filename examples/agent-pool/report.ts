/** What the job says about itself, before and after. */
import type { InputList } from "./input.js";
import type { Options } from "./options.js";
import type { Figures } from "./run.js";

const LABEL_COLUMNS = 22;

export function describeStart(
  { files, bytes, root, skipped }: InputList,
  options: Options,
  data: string,
): string {
  const lines = [
    `${number(files.length)} ${files.length === 1 ? "file" : "files"}, ${mebibytes(bytes)}, under ${root}`,
    `worker threads: ${options.threads} for reading and splitting, ${options.threads} for counting`,
    `durable queues (sync) in ${data}`,
  ];
  if (skipped > 0) lines.push(`${number(skipped)} files or folders could not be listed and are left out`);
  return lines.join("\n");
}

export function describeFigures({ files }: InputList, figures: Figures): string {
  const { tally, ms, messages, commits } = figures;
  const { totals } = tally;
  const { longest } = totals;
  const perSecond = (amount: number) => (amount * 1000) / Math.max(ms, 1);
  const where = longest.line === 0 ? "" : ` (${files[longest.file]?.path}:${longest.line})`;
  const rows: [string, string][] = [
    ["files", number(files.length) + leftOut(tally.unreadable)],
    ["pieces", number(tally.pieces)],
    ["bytes", number(totals.bytes)],
    ["lines", number(totals.lines)],
    ["words", number(totals.words)],
    ["links", number(totals.links)],
    ["code fence lines", number(totals.fences)],
    ["headings", number(totals.headings)],
    ["exported declarations", number(totals.exports)],
    ["longest line", `${number(longest.characters)} characters${where}`],
    ["", ""],
    [
      "time",
      seconds(ms) + (figures.starts > 1 ? ` in this run, the job's start number ${figures.starts}` : ""),
    ],
    ["messages", `${number(messages)}, ${number(perSecond(messages))} a second`],
    ["input", `${mebibytes(perSecond(figures.bytes))} a second`],
    ["commits", `${number(commits)}, ${(messages / Math.max(commits, 1)).toFixed(1)} messages each`],
    [
      "redeliveries",
      `${number(figures.redelivered)}, results dropped as seen before ${number(tally.duplicates)}`,
    ],
    ["threads restarted", number(figures.restarts)],
  ];
  return rows.map(([label, value]) => `${label.padEnd(LABEL_COLUMNS)}${value}`.trimEnd()).join("\n");
}

function leftOut(files: number): string {
  return files === 0
    ? ""
    : `, ${number(files)} left out: unreadable, over 64 MiB, or with a line over 512 KiB`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

export function number(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
