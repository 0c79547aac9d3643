// One format for every question. A row is
//   { name, value, unit, spread?: [least, most], p50?, p99?, baseline?: { name, value }, ratio?, floor?, goal? }
// p50 and p99 are microseconds. `floor` is what the project promises on a two-core machine and `goal` what it aims at:
// { of: "value" | "ratio" | "p50" | "p99", least | most }.

export const atLeast = (least, of = "value") => ({ of, least });
export const atMost = (most, of = "value") => ({ of, most });

export function reached(row, bar) {
  const figure = row[bar.of];
  return bar.least === undefined ? figure <= bar.most : figure >= bar.least;
}

const numbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function figure(value) {
  if (value === undefined) return "";
  const size = Math.abs(value);
  return size >= 1000
    ? numbers.format(value)
    : size >= 100
      ? value.toFixed(0)
      : size >= 1
        ? value.toFixed(1)
        : value.toFixed(3);
}

function barText(row, bar) {
  if (bar === undefined) return "";
  const limit = bar.least === undefined ? `<= ${figure(bar.most)}` : `>= ${figure(bar.least)}`;
  const of = { value: "", ratio: "x", p50: " p50", p99: " p99" }[bar.of];
  return `${limit}${of} ${reached(row, bar) ? "yes" : "NO"}`;
}

const columns = [
  ["", (row) => row.name],
  ["median", (row) => `${figure(row.value)} ${row.unit}`],
  ["spread", (row) => (row.spread ? `${figure(row.spread[0])} .. ${figure(row.spread[1])}` : "")],
  ["p50 us", (row) => figure(row.p50)],
  ["p99 us", (row) => figure(row.p99)],
  ["baseline", (row) => (row.baseline ? `${figure(row.baseline.value)} ${row.baseline.name}` : "")],
  ["ratio", (row) => (row.ratio === undefined ? "" : `${row.ratio.toFixed(2)}x`)],
  ["floor", (row) => barText(row, row.floor)],
  ["goal", (row) => barText(row, row.goal)],
];

/** The rows as an aligned table; columns that nobody uses are left out. */
export function table(rows) {
  const used = columns
    .map(([head, cell]) => [head, ...rows.map(cell)])
    .filter(([, ...cells]) => cells.some((cell) => cell !== ""));
  const widths = used.map((cells) => Math.max(...cells.map((cell) => cell.length)));
  const lines = [];
  for (let line = 0; line <= rows.length; line++) {
    const cells = used.map((column, i) => {
      const leftAligned = i === 0 || column[0] === "baseline";
      return leftAligned ? column[line].padEnd(widths[i]) : column[line].padStart(widths[i]);
    });
    lines.push(`  ${cells.join("  ").trimEnd()}`);
  }
  return lines.join("\n");
}

/** One line a setting. */
export function preamble(machine, settings) {
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; Linux ${machine.kernel}; Node ${machine.node}`,
    `stores on ${machine.fileSystem}`,
    `settings: ${Object.entries(settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(", ")}`,
  ];
  if (machine.fileSystemIsMemory)
    lines.push("WARNING: this file system is memory, nothing here reaches a disk: use --dir");
  if (machine.loadBefore > 0.5) {
    lines.push(`WARNING: the machine was busy before the run (load ${machine.loadBefore.toFixed(1)})`);
  }
  return lines.join("\n");
}
