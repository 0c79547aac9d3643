// A commit of this repository, built: its files in a folder below build/, compiled once by its own setup.mjs.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SetupError } from "../../setup.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * @param revision anything that git can name
 * @returns { commit, folder } the folder holds the commit, built, with the benchmarks of this tree
 * @throws {SetupError} when git does not know it or it does not build
 */
export async function buildRevision(revision) {
  const named = spawnSync("git", ["rev-parse", "--verify", "--quiet", `${revision}^{commit}`], {
    cwd: root,
    encoding: "utf8",
  });
  if (named.status !== 0) throw new SetupError(`git knows no commit ${revision}`);
  const commit = named.stdout.trim();
  const folder = join(root, "build", "compare", commit);
  if (!existsSync(folder)) extract(commit, folder);
  const built = await new Promise((resolve) => {
    spawn(process.execPath, ["setup.mjs"], { cwd: folder, stdio: "inherit" }).on("close", resolve);
  });
  if (built !== 0) throw new SetupError(`${revision} does not build (see above; its files are in ${folder})`);
  // Both sides run the same programs, also where the commit has none: from there `millrace` is the commit's own build.
  const bench = join(folder, "bench");
  rmSync(bench, { recursive: true, force: true });
  cpSync(join(root, "bench"), bench, { recursive: true });
  return { commit, folder };
}

// Under another name first: a folder that is there is whole. An archive, not a worktree: git keeps no note of it.
function extract(commit, folder) {
  const parent = join(folder, "..");
  mkdirSync(parent, { recursive: true });
  const part = mkdtempSync(join(parent, "part-"));
  const archive = execFileSync("git", ["archive", commit], { cwd: root, maxBuffer: 1 << 28 });
  execFileSync("tar", ["-x", "-C", part], { input: archive });
  renameSync(part, folder);
}
