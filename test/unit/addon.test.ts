/** An addon that cannot be loaded: the error names what failed, and its advice fits. */
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = new URL("./fixtures/load.mjs", import.meta.url);
const built = readFileSync(join(root, "build/Release/millrace.node"));
const major = Number(process.versions.node.split(".")[0]);
const permission = major < 23 ? "--experimental-permission" : "--permission";

interface Failure {
  readonly code: string;
  readonly name: string;
  readonly message: string;
  readonly cause: string;
  readonly causeCode: string;
}

/** The package as it is deployed, with `addon` in the place of its addon. */
function copyWith(addon?: Uint8Array | string): string {
  const copy = temporaryDirectory();
  chmodSync(copy, 0o755);
  cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(copy, "package.json"));
  // Not a link: nobody may be able to follow it.
  cpSync(join(root, "node_modules/piscina"), join(copy, "node_modules/piscina"), { recursive: true });
  mkdirSync(join(copy, "build/Release"), { recursive: true });
  if (addon !== undefined) writeFileSync(join(copy, "build/Release/millrace.node"), addon);
  return copy;
}

async function failure(copy: string, node: string[] = [], how: string[] = []): Promise<Failure> {
  const entry = pathToFileURL(join(copy, "dist/index.js")).href;
  const { stdout, signal } = await runNode(program, { args: [entry, ...how], node });
  expect(signal).toBe(null);
  const failed = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Failure;
  expect(failed).toMatchObject({ code: "ADDON_FAILED", name: "MillraceError" });
  // The words of what failed are in the message, and the error itself is its cause.
  expect(failed.message).toContain(failed.cause);
  return failed;
}

function patched(at: number, ...bytes: number[]): Uint8Array {
  const copy = Uint8Array.from(built);
  copy.set(bytes, at);
  return copy;
}

test("add-ons that are switched off", async () => {
  const { message, causeCode } = await failure(root, ["--no-addons"]);
  expect(causeCode).toBe("ERR_DLOPEN_DISABLED");
  expect(message).toContain("--no-addons");
  expect(message).not.toContain("rebuild");
});

test("a permission model that allows no add-ons", async () => {
  const { message, causeCode } = await failure(root, [permission, "--allow-fs-read=*", "--allow-worker"]);
  expect(causeCode).toBe("ERR_DLOPEN_DISABLED");
  expect(message).toContain("--allow-addons");
  expect(message).not.toContain("rebuild");
});

test("an addon that was never built", async () => {
  const { message, causeCode } = await failure(copyWith());
  expect(causeCode).toBe("ENOENT");
  expect(message).toContain("not built");
  expect(message).toContain("npm rebuild millrace");
});

test.each([0, 40, 64, 4096, built.length >> 1])("a file that was cut short to %d bytes", async (bytes) => {
  const { message } = await failure(copyWith(built.subarray(0, bytes)));
  expect(message).toMatch(/is cut short.*npm rebuild millrace/);
});

test.each([
  ["text", "module.exports = {};\n".repeat(10)],
  ["a program for another system", patched(0, 0xcf, 0xfa, 0xed, 0xfe)],
])("a file that is %s", async (_, bytes) => {
  const { message } = await failure(copyWith(bytes));
  expect(message).toMatch(/is no program for Linux.*npm rebuild millrace/);
});

test.each([
  [183, "arm64", "x64"],
  [62, "x64", "arm64"],
  [3, "ia32", process.arch],
  [999, "999", process.arch],
] as const)("a file for another processor (%d)", async (machine, name, here) => {
  if (here !== process.arch) return;
  const { message } = await failure(copyWith(patched(18, machine & 255, machine >> 8)));
  expect(message).toContain(`is for the processor ${name}, and this process runs on ${process.arch}`);
  expect(message).toContain("npm rebuild millrace");
});

test("a shared library that is no addon", async () => {
  // What Node.js looks for in it has another name.
  const name = Buffer.from("napi_register_module_v1");
  const bytes = Buffer.from(built);
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name)) bytes[at] = "x".charCodeAt(0);
  const { message, causeCode } = await failure(copyWith(bytes));
  expect(causeCode).toBe("ERR_DLOPEN_FAILED");
  expect(message).toContain("npm rebuild millrace");
});

test("a file that may not be read", async () => {
  const copy = copyWith(built);
  chmodSync(join(copy, "build/Release/millrace.node"), 0);
  const { message, causeCode } = await failure(copy, [], ["as nobody"]);
  expect(causeCode).toBe("EACCES");
  expect(message).toContain("open");
  expect(message).not.toContain("rebuild");
});

test("code that a bundler moved away from its package", async () => {
  const copy = copyWith(built);
  rmSync(join(copy, "build"), { recursive: true });
  writeFileSync(join(copy, "package.json"), '{"name":"their-service","type":"module"}');
  const { message } = await failure(copy);
  expect(message).toContain("external");
  expect(message).not.toContain("rebuild");
});

test("code of a bundle that does not know where it is", async () => {
  const copy = copyWith(built);
  const module = join(copy, "dist/engine/addon.js");
  writeFileSync(module, readFileSync(module, "utf8").replace("import.meta.url", "undefined"));
  expect((await failure(copy)).message).toContain("external");
});
