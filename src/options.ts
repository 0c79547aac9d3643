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
    throw Object.assign(invalidArgument(`${what} cannot be read`), { cause });
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
