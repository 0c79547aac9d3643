/** The only loader of the native addon, and what to say when it cannot be loaded. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { MillraceError } from "../errors.js";

const REBUILD = "`npm rebuild millrace` builds it on this machine.";

/** What of an ELF file decides whether dlopen may have it (elf.h); both architectures are 64-bit, little-endian. */
const ELF = { magic: 0x464c457f, bits64: 2, headerBytes: 64, programHeaderBytes: 56, load: 1 };
const MACHINES: Readonly<Record<number, string>> = {
  3: "ia32",
  40: "arm",
  62: "x64",
  183: "arm64",
  243: "riscv64",
};

const PATH = "../../build/Release/millrace.node";

/** The exports of the addon. Throws `ADDON_FAILED` with what failed, and the error that said so as its cause. */
export function loadAddon(): unknown {
  // What made one file of many may leave nothing to find the addon with.
  const here = import.meta.url as string | undefined;
  if (here === undefined) throw failure(new Error("the place of millrace's code is not known"), BUNDLED);
  const file = fileURLToPath(new URL(PATH, here));
  try {
    checkFile(file);
    return createRequire(here)(file);
  } catch (cause) {
    throw failure(cause as Error, adviceFor(cause as NodeJS.ErrnoException, here));
  }
}

const BUNDLED =
  "millrace's code is not where its package put it: if a bundler moved it, name millrace as external, and ship its package.";

function failure(cause: Error, advice: string): MillraceError {
  const text = `the native addon of millrace cannot be loaded: ${cause.message}. ${advice}`.trimEnd();
  return new MillraceError("ADDON_FAILED", text, { cause });
}

function adviceFor({ code }: NodeJS.ErrnoException, here: string): string {
  switch (code) {
    case "ERR_DLOPEN_DISABLED":
      return (process as { permission?: unknown }).permission === undefined
        ? "This process runs with --no-addons."
        : "Node.js's permission model lets it be loaded with --allow-addons.";
    case "ERR_ACCESS_DENIED":
      return "Node.js's permission model lets it be read with --allow-fs-read.";
    case "ENOENT":
      return isInPackage(here) ? `It is not built, or was deleted. ${REBUILD}` : BUNDLED;
    case "ERR_DLOPEN_FAILED":
    case "ERR_ADDON_FILE":
      return REBUILD;
    default:
      return "";
  }
}

/** Does the module at `here` lie where the package has it? */
function isInPackage(here: string): boolean {
  try {
    const { name } = JSON.parse(readFileSync(new URL("../../package.json", here), "utf8"));
    return name === "millrace";
  } catch {
    return false;
  }
}

/**
 * Throws on a file that dlopen must not see, or would call by the wrong name: one that was cut short ends the process
 * (SIGBUS), and one for another processor is "No such file" to it.
 */
function checkFile(file: string): void {
  const descriptor = openSync(file, "r");
  try {
    const start = Buffer.alloc(4096);
    const fault = faultIn(
      start.subarray(0, readSync(descriptor, start, 0, start.length, 0)),
      fstatSync(descriptor).size,
    );
    if (fault !== undefined) throw Object.assign(new Error(`${file} ${fault}`), { code: "ERR_ADDON_FILE" });
  } finally {
    closeSync(descriptor);
  }
}

/** What is wrong with a file of `fileBytes` bytes that begins with `start`. */
function faultIn(start: Buffer, fileBytes: number): string | undefined {
  if (start.length < ELF.headerBytes)
    return `is cut short or something else: ${fileBytes} bytes are too short for an ELF header`;
  if (start.readUInt32LE(0) !== ELF.magic) return "is no program for Linux: it has no ELF header";
  const machine = start.readUInt16LE(18);
  if (start[4] !== ELF.bits64 || MACHINES[machine] !== process.arch) {
    return `is for the processor ${MACHINES[machine] ?? machine}, and this process runs on ${process.arch}`;
  }
  const headersAt = Number(start.readBigUInt64LE(32));
  const headersEnd = headersAt + start.readUInt16LE(56) * ELF.programHeaderBytes;
  let end = headersEnd;
  for (
    let at = headersAt;
    at < headersEnd && at + ELF.programHeaderBytes <= start.length;
    at += ELF.programHeaderBytes
  ) {
    if (start.readUInt32LE(at) !== ELF.load) continue;
    end = Math.max(end, Number(start.readBigUInt64LE(at + 8) + start.readBigUInt64LE(at + 32)));
  }
  if (end > fileBytes) return `is cut short: it has ${fileBytes} of at least ${end} bytes`;
  return undefined;
}
