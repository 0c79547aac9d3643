// The formatters and linters, as parts of test/run.mjs: `npm run lint`.
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
// Another release of clang-format may break lines otherwise: its findings are then shown, not counted.
const clangFormatRelease = "14";
const minutes = 60_000;
const tidyTimeMax = 10 * minutes;

/** Biome over everything it knows, clang-format over the C++. @returns passed and failed: one each */
export async function lintFormat(run) {
  const count = { passed: 0, failed: 0 };
  const note = (ok) => {
    if (ok) count.passed++;
    else count.failed++;
  };
  const biome = join(root, "node_modules", "@biomejs", "biome", "bin", "biome");
  note((await run([process.execPath, biome, "check", "--error-on-warnings", "."])).ok);

  const release = releaseOf("clang-format");
  if (release === undefined) {
    console.log(
      "NOTE: clang-format is not installed (apt-get install clang-format): the C++ format is NOT checked.",
    );
    return count;
  }
  const { ok } = await run(["clang-format", "--dry-run", "-Werror", ...cppFiles(/\.(h|cc)$/)]);
  if (ok) console.log(`clang-format ${release}: clean`);
  if (!ok && release !== clangFormatRelease) {
    console.log(
      `NOTE: this is clang-format ${release}; the project is formatted with ${clangFormatRelease}. Not counted.`,
    );
    return count;
  }
  note(ok);
  return count;
}

/** clang-tidy over the core (not the addon: its findings are in node-addon-api's macros); one count a file. */
export async function lintCpp(run) {
  const count = { passed: 0, failed: 0 };
  if (releaseOf("clang-tidy") === undefined) {
    console.log("NOTE: clang-tidy is not installed (apt-get install clang-tidy): the C++ is NOT linted.");
    return count;
  }
  const deadline = Date.now() + tidyTimeMax;
  const files = cppFiles(/\.cc$/).filter(
    (file) => file.startsWith("native/") && !file.startsWith("native/addon/"),
  );
  let skipped = 0;
  const worker = async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      if (Date.now() > deadline) {
        skipped++;
        continue;
      }
      const flags = ["-std=c++20", "-Inative", "-D_FILE_OFFSET_BITS=64"];
      const { ok, output } = await run(["clang-tidy", "--quiet", file, "--", ...flags], { quiet: true });
      console.log(`${ok ? "ok  " : "FAIL"} ${file}`);
      if (!ok) console.log(output.trimEnd());
      if (ok) count.passed++;
      else count.failed++;
    }
  };
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, worker));
  if (skipped > 0)
    console.log(`NOTE: out of time after ${tidyTimeMax / minutes} minutes: ${skipped} files NOT linted.`);
  return count;
}

function releaseOf(tool) {
  const { status, stdout } = spawnSync(tool, ["--version"], { encoding: "utf8" });
  return status === 0 ? (/version (\d+)/.exec(stdout)?.[1] ?? "unknown") : undefined;
}

function cppFiles(pattern) {
  const args = [
    "ls-files",
    "--cached",
    "--others",
    "--exclude-standard",
    "native",
    "test/native",
    "bench/native",
  ];
  const { stdout } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  return stdout.split("\n").filter((name) => pattern.test(name));
}
