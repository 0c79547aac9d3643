/** Temporary directories, removed when the process ends at the latest. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const made = new Set();
process.on("exit", () => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true });
});

/**
 * @param {string} [parent]
 * @returns {string} a new, empty directory
 */
export function makeDirectory(parent = tmpdir()) {
  const directory = mkdtempSync(join(parent, "millrace-test-"));
  made.add(directory);
  return directory;
}

/** @param {string} directory made by makeDirectory */
export function removeDirectory(directory) {
  rmSync(directory, { recursive: true, force: true });
  made.delete(directory);
}
