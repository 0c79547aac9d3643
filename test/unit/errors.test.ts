/** The codes of errors: one list, spelled once. */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { MillraceError } from "millrace";
import { expect, test } from "vitest";

const root = new URL("../../", import.meta.url);
const { codes } = createRequire(import.meta.url)("../../build/Release/millrace.node") as {
  codes: readonly string[];
};

/** Codes that only the TypeScript layer can meet. */
const ownCodes = ["ADDON_FAILED", "CODEC_FAILED", "POOL_FAILED"];

/** The members of the union type `ErrorCode`, as compiled. */
function union(): string[] {
  const declaration = readFileSync(new URL("dist/errors.d.ts", root), "utf8");
  const found = /export type ErrorCode = ([^;]+);/.exec(declaration)?.[1] ?? "";
  return [...found.matchAll(/"([A-Z_]+)"/g)].map((match) => match[1] as string);
}

test("ErrorCode is the native list and what this layer adds, in order", () => {
  expect(codes[0]).toBe("OK");
  expect(union()).toEqual([...codes.slice(1), ...ownCodes]);
  expect(new Set(codes).size).toBe(codes.length);
});

test("no code is in the list for nothing: what only this layer has, it throws", () => {
  const compiled = readdirSync(new URL("dist/", root), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".js") && name !== "errors.js")
    .map((name) => readFileSync(new URL(`dist/${name}`, root), "utf8"))
    .join("\n");
  for (const code of ownCodes) expect(compiled.includes(`"${code}"`), code).toBe(true);
});

test("a MillraceError has its name, code, message and cause", () => {
  const cause = new Error("below");
  const error = new MillraceError("DISK_FULL", "no space", { cause });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({ name: "MillraceError", code: "DISK_FULL", message: "no space", cause });
  expect(String(error)).toBe("MillraceError: no space");
  expect(error.stack).toContain("MillraceError: no space");
});
