import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MillraceError } from "millrace";
import { describe, expect, test } from "vitest";
import { invalidArgument } from "../../dist/errors.js";
import { temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const addon = join(root, "build", "Release", "millrace.node");
const fixture = (name: string) => new URL(`./fixtures/${name}.mjs`, import.meta.url);

/** Another copy of the package's JavaScript, over the same addon or over what `makeAddon` writes. Its index. */
function copyOfThePackage(makeAddon?: (path: string) => void): string {
  const copy = join(temporaryDirectory(), "millrace");
  mkdirSync(copy);
  cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(copy, "package.json"));
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  if (makeAddon === undefined) {
    symlinkSync(join(root, "build"), join(copy, "build"));
  } else {
    mkdirSync(join(copy, "build", "Release"), { recursive: true });
    makeAddon(join(copy, "build", "Release", "millrace.node"));
  }
  return join(copy, "dist", "index.js");
}

describe("the package evaluated twice in one thread", () => {
  test("works in both copies, whichever closes first, and both give their leases back", async () => {
    const args = ["both", copyOfThePackage(), temporaryDirectory()];
    const ended = await runNode(fixture("evaluated-twice"), { args });
    expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null, stdout: "both work\n" });
  });

  test("lives as long as one of the copies waits for messages, and no longer", async () => {
    const args = ["alive", copyOfThePackage(), temporaryDirectory()];
    const ended = await runNode(fixture("evaluated-twice"), { args, deadlineMs: 20_000 });
    expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null, stdout: "handled\n" });
  });

  test("leaves nothing of a copy that nobody can reach any more, and takes nothing from one that waits", async () => {
    const ended = await runNode(fixture("forgotten-copies"), { node: ["--expose-gc"], deadlineMs: 30_000 });
    expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null, stdout: "gone\n" });
  });
});

describe("two builds of the addon in one process", () => {
  test("share no symbol", () => {
    const names = execFileSync("nm", ["-D", "--defined-only", addon], { encoding: "utf8" })
      .split("\n")
      .filter(Boolean)
      .map((line) => line.split(" ").at(-1));
    expect(names.sort()).toEqual(["napi_register_module_v1", "node_api_module_get_api_version_v1"]);
  });

  test("an addon of another version is refused by a typed error when the package is loaded", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    const other = copyOfThePackage((path) => {
      const bytes = readFileSync(addon);
      const at = bytes.indexOf(`\0${version}\0`);
      expect(at).toBeGreaterThan(0);
      expect(bytes.indexOf(`\0${version}\0`, at + 1)).toBe(-1);
      bytes.write(version.replace(/\d/g, "9"), at + 1);
      writeFileSync(path, bytes);
    });
    const loading = import(pathToFileURL(other).href);
    await expect(loading).rejects.toMatchObject({ code: "INCOMPATIBLE", name: "MillraceError" });
    await expect(loading).rejects.toThrow(version);
    expect(MillraceError.is(await loading.catch((error) => error), "INCOMPATIBLE")).toBe(true);
  });
});

test("MillraceError.is knows ours from anything else", () => {
  const closed = new MillraceError("CLOSED", "x");
  expect([MillraceError.is(closed), MillraceError.is(closed, "CLOSED")]).toEqual([true, true]);
  expect(MillraceError.is(closed, "IO_ERROR")).toBe(false);
  const others = [undefined, null, 1, "CLOSED", {}, { code: "CLOSED" }, new Error("x"), () => {}];
  expect(others.filter((other) => MillraceError.is(other))).toEqual([]);
  // A wrong argument is a mistake in the program: a TypeError, with a code all the same.
  expect(MillraceError.is(invalidArgument("x"))).toBe(false);
  expect(Object.keys(closed)).toEqual(["code"]);
});
