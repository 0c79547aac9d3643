/** The options of queues and brokers are said in three places: native code, TypeScript and README.md. They agree. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BROKER_OPTIONS } from "../../dist/broker-options.js";
import { binding } from "../../dist/engine/binding.js";
import type { ChoiceRow, TextRow, WholeRow } from "../../dist/options.js";
import { QUEUE_OPTIONS } from "../../dist/queue-options.js";

type Row = (WholeRow | TextRow | ChoiceRow<string>) & { readonly kept?: string };

const queueRows = Object.entries<Row>(QUEUE_OPTIONS);
const brokerRows = Object.entries<Row>(BROKER_OPTIONS);
const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

test("native code has the stored options, with the same bounds and defaults", () => {
  const stored = queueRows.filter(([, { kept }]) => kept === "stored");
  expect(stored.length).toBeGreaterThan(0);
  const expected = stored.map(([name, row]) => [
    name,
    row.type === "whole" ? { default: row.default, min: row.min, max: row.max } : { default: row.default },
  ]);
  const native = Object.entries(binding.queueOptions).map(([name, { field: _, ...row }]) => [name, row]);
  expect(Object.fromEntries(native)).toEqual(Object.fromEntries(expected));
});

test("the fields of the queue record are what version 1 of the format gave them", () => {
  const fields = Object.entries(binding.queueOptions).map(([name, { field }]) => `${field} ${name}`);
  const format = readFileSync(new URL("../../native/log/FORMAT.md", import.meta.url), "utf8");
  const written = [...format.matchAll(/^\| (\d+) \| (\w+) \| (?:number|queue name)\b/gm)];
  expect(written.map(([, field, name]) => `${field} ${name}`).sort()).toEqual(fields.sort());
});

const BYTES: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** "1,000,000", "2^48" and "64 MiB" as numbers; anything else as it is. */
function read(cell: string): number | string {
  const [, digits, power, unit] = /^(?:([\d,]+)|2\^(\d+))(?: (KiB|MiB|GiB|TiB))?$/.exec(cell) ?? [];
  if (digits === undefined && power === undefined) return cell;
  const number = power === undefined ? Number(digits?.replaceAll(",", "")) : 2 ** Number(power);
  return number * (unit === undefined ? 1 : (BYTES[unit] ?? Number.NaN));
}

/** The lines "| `name` | values | default |" below the heading, with more cells behind them or not. */
function tableBelow(heading: string): Record<string, string[]> {
  const section = readme.split(`### ${heading}\n`)[1]?.split("\n### ")[0] ?? "";
  const rows = [...section.matchAll(/^\| `(\w+)` \|(.+)\|$/gm)];
  return Object.fromEntries(
    rows.map(([, name, cells]) => [
      name,
      String(cells)
        .split("|")
        .map((cell) => cell.trim()),
    ]),
  );
}

describe.each([
  ["Open and close", brokerRows],
  ["Queues", queueRows],
] as const)("README.md, %s", (heading, rows) => {
  const table = tableBelow(heading);

  test("has every option and no other", () => {
    expect(Object.keys(table).sort()).toEqual(rows.map(([name]) => name).sort());
  });

  test.each(rows)("%s has its values and its default", (name, row) => {
    const [values = "", initial = "", kept] = table[name] ?? [];
    if (row.type === "whole") {
      expect(values.split(" to ").map(read)).toEqual([row.min, row.max]);
    } else if (row.type === "choice") {
      expect(values).toBe(row.choices.map((choice) => `\`"${choice}"\``).join(", "));
    } else {
      expect(values).toBe(`a ${row.type}`);
    }
    const told = typeof row.default === "object" ? row.default.depends : row.default;
    expect(read(initial.replace(/^`"?(.*?)"?`$/, "$1"))).toBe(told);
    expect(kept).toBe(row.kept);
  });
});
