/** Reading of option objects: own keys only, unknown keys refused, every value checked before anything happens. */
import { invalidArgument, outOfRange } from "./errors.js";

/** Array.isArray, which throws where a proxy was revoked: nothing can be read from one. */
export function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** The own properties of `given`, each read once. What throws while it is read is a wrong argument. */
export function entriesOf(given: unknown, what: string): [name: string, value: unknown][] {
  if (typeof given !== "object" || given === null || isArray(given)) {
    throw invalidArgument(`${what} must be an object`);
  }
  try {
    return Object.entries(given);
  } catch (cause) {
    throw invalidArgument(`${what} cannot be read`, { cause });
  }
}

/** A copy of the own properties of `given`, without a prototype; `undefined` gives an empty one. */
export function readOptions(given: unknown, known: readonly string[], what: string): Record<string, unknown> {
  const options: Record<string, unknown> = Object.create(null);
  if (given === undefined) return options;
  for (const [key, value] of entriesOf(given, what)) {
    if (!known.includes(key)) throw invalidArgument(`${what} has no option "${key}"`);
    if (value !== undefined) options[key] = value;
  }
  return options;
}

/** What an option is if nobody names it: a value, or in words what that depends on. */
type Default<T> = T | { readonly depends: string };

/** A number: whole, from `min` to `max`. */
export interface WholeRow {
  readonly type: "whole";
  readonly min: number;
  readonly max: number;
  readonly default: Default<number>;
}

export interface TextRow {
  readonly type: "queue name" | "path";
  readonly default: Default<string>;
}

export interface ChoiceRow<T extends string> {
  readonly type: "choice";
  readonly choices: EachOnce<T>;
  readonly default: Default<T>;
}

/** A list of every member of a union: one too many or too few does not compile. Of `string`, any list. */
type EachOnce<T extends string, One extends T = T> = string extends T
  ? readonly string[]
  : [T] extends [never]
    ? readonly []
    : One extends T
      ? readonly [One, ...EachOnce<Exclude<T, One>>]
      : never;

type RowOf<T> = [T] extends [number]
  ? WholeRow
  : [T] extends [string]
    ? string extends T
      ? TextRow
      : ChoiceRow<T>
    : never;

/** The table of an interface of options, one row each: the compiler refuses another set of names, types or choices. */
export type RowsOf<Options, Kept = unknown> = {
  readonly [Name in keyof Options]-?: RowOf<NonNullable<Options[Name]>> & Kept;
};

/** What `given` names of the options of a table, each checked; `undefined` names nothing. */
export function readTable<Options>(given: unknown, table: RowsOf<Options>, what: string): Partial<Options> {
  const rows = table as Readonly<Record<string, WholeRow | TextRow | ChoiceRow<string>>>;
  const options = readOptions(given, Object.keys(rows), what);
  for (const [name, row] of Object.entries(rows)) {
    if (name in options) options[name] = readValue(options[name], name, row);
  }
  return options as Partial<Options>;
}

function readValue(value: unknown, name: string, row: WholeRow | TextRow | ChoiceRow<string>): unknown {
  switch (row.type) {
    case "whole":
      return integer(value, name, row.min, row.max);
    case "choice":
      return oneOf(value, name, row.choices);
    case "queue name":
      return queueName(value, name);
    case "path":
      return text(value, name);
  }
}

export function integer(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== "number") throw invalidArgument(`${name} must be a number`);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw outOfRange(`${name} must be a whole number from ${min} to ${max}`);
  }
  return value;
}

export function boolean(value: unknown, name: string): boolean {
  if (typeof value !== "boolean") throw invalidArgument(`${name} must be true or false`);
  return value;
}

export function text(value: unknown, name: string): string {
  if (typeof value !== "string") throw invalidArgument(`${name} must be a string`);
  return value;
}

export function oneOf<const T extends string>(value: unknown, name: string, choices: readonly T[]): T {
  if (typeof value !== "string" || !choices.includes(value as T)) {
    throw invalidArgument(`${name} must be one of ${choices.map((choice) => `"${choice}"`).join(", ")}`);
  }
  return value as T;
}

/** The longest that a timer of Node can wait: 24 days. */
export const TIMER_MS_MAX = 2 ** 31 - 1;

/** Milliseconds: whole, from 0 to 100 years. */
export const MILLISECONDS_MAX = 100 * 366 * 24 * 3600 * 1000;

export function milliseconds(value: unknown, name: string, min = 0): number {
  return integer(value, name, min, MILLISECONDS_MAX);
}

export const QUEUE_NAME_BYTES_MAX = 255;

/** 1 to 255 bytes of UTF-8 without control characters. A name is never used as a path. */
export function queueName(value: unknown, name: string): string {
  const given = text(value, name);
  const bytes = Buffer.byteLength(given);
  if (bytes < 1 || bytes > QUEUE_NAME_BYTES_MAX) {
    throw outOfRange(`${name} must have 1 to ${QUEUE_NAME_BYTES_MAX} bytes`);
  }
  for (let i = 0; i < given.length; i++) {
    const unit = given.charCodeAt(i);
    if (unit < 0x20 || unit === 0x7f) throw outOfRange(`${name} must not have control characters`);
  }
  if (!given.isWellFormed()) throw outOfRange(`${name} must be well-formed Unicode`);
  return given;
}
