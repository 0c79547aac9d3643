/** Where the queues of a run live. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UsageError } from "./failures.js";

/** Makes the given directory, or a fresh one that belongs to this run alone. */
export async function makeDataDirectory(given: string | undefined): Promise<string> {
  if (given === undefined) return mkdtemp(join(tmpdir(), "millrace-"));
  try {
    await mkdir(given, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new UsageError(`${given} cannot be the data directory: ${(error as Error).message}`);
  }
  return given;
}

export async function removeDataDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}
