/**
 * Every failure that millrace reports has a stable `code`. The codes below are those of native/base/status.h (a test
 * compares the two) and, after them, those that only this layer can meet.
 */
export type ErrorCode =
  | "CLOSED"
  | "STORE_LOCKED"
  | "STORE_FAILED"
  | "DISK_FULL"
  | "CORRUPT"
  | "INCOMPATIBLE"
  | "IO_ERROR"
  | "LEASE_LOST"
  | "MESSAGE_TOO_LARGE"
  | "QUEUE_FULL"
  | "QUEUE_NOT_FOUND"
  | "BROKER_NOT_FOUND"
  | "INVALID_ARGUMENT"
  | "OUT_OF_RANGE"
  | "FORKED"
  | "LIMIT_REACHED"
  | "ADDON_FAILED"
  | "CODEC_FAILED"
  | "POOL_FAILED";

/** On each error of ours, whichever copy of this package made it: `Symbol.for` gives all of them the same one. */
const ours = Symbol.for("millrace.error");

/**
 * What went wrong, by `code`; the message is for people and may change. Where a process has more than one copy of this
 * package (a test runner, a bundle), `instanceof` knows the errors of one of them only: ask `MillraceError.is`.
 */
export class MillraceError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Whether `error` is one, of any copy of this package; with `code`, one of that code. */
  static is(error: unknown): error is MillraceError;
  static is<C extends ErrorCode>(error: unknown, code: C): error is MillraceError & { readonly code: C };
  static is(error: unknown, code?: ErrorCode): boolean {
    if (typeof error !== "object" || error === null || !(ours in error)) return false;
    return code === undefined || (error as { code?: unknown }).code === code;
  }

  override get name(): string {
    return "MillraceError";
  }
}

Object.defineProperty(MillraceError.prototype, ours, { value: true });

/** A TypeError with code `INVALID_ARGUMENT`: wrong type or form. */
export function invalidArgument(
  message: string,
  why: { readonly cause?: unknown } = {},
): TypeError & { code: "INVALID_ARGUMENT" } {
  return Object.assign(new TypeError(message), { code: "INVALID_ARGUMENT" as const, ...why });
}

/** A RangeError with code `OUT_OF_RANGE`: right type, impossible value. */
export function outOfRange(message: string): RangeError & { code: "OUT_OF_RANGE" } {
  return Object.assign(new RangeError(message), { code: "OUT_OF_RANGE" as const });
}

/** The error for a code that native code reports. */
export function errorOf(code: string, detail: string): Error {
  if (code === "INVALID_ARGUMENT") return invalidArgument(detail);
  if (code === "OUT_OF_RANGE") return outOfRange(detail);
  return new MillraceError(code as ErrorCode, detail);
}
