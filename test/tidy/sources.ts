// What the tidy tests look at: the project's own files, and what they include and import.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Source {
  /** From the top of the project, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: number;
}

/** Every text file of the project: tracked, or new and not ignored. */
export function projectFiles(): Source[] {
  return listed()
    .filter((path) => existsSync(join(root, path)))
    .map(read)
    .filter(({ text }) => !text.includes("\0"));
}

export function sourcesUnder(folder: string, pattern: RegExp): Source[] {
  return projectFiles().filter(({ path }) => path.startsWith(`${folder}/`) && pattern.test(path));
}

function listed(): string[] {
  const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  try {
    return [...new Set(execFileSync("git", args, { cwd: root, encoding: "utf8" }).split("\0"))].filter(
      Boolean,
    );
  } catch {
    // No git, or a copy without its history: the folders that hold our own files.
    return ["native", "src", "test", "bench", "examples"].flatMap((folder) =>
      existsSync(join(root, folder))
        ? readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
            .filter((entry) => entry.isFile())
            .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
        : [],
    );
  }
}

function read(path: string): Source {
  const text = readFileSync(join(root, path), "utf8");
  return { path, text, lines: text.split("\n").length - 1 };
}

/** The names between quotes or angle brackets, as written. */
export function includesOf({ text }: Source): string[] {
  return [...text.matchAll(/^\s*#\s*include\s*[<"]([^>"]+)[>"]/gm)].map((found) => String(found[1]));
}

/** `import ... from`, `export ... from`, `import "..."` and `import("...")` of a TypeScript file, types too: the names. */
export function importsOf({ text }: Source): string[] {
  const code = withoutComments(text);
  const statement = /\b(?:import|export)\s+[^"'`;()]*?\bfrom\s*"([^"]+)"|\bimport\s*\(?\s*"([^"]+)"/g;
  return [...code.matchAll(statement)].map((found) => String(found[1] ?? found[2]));
}

/** A relative import of `from` as a path of the project: `./queue.js` in src/broker.ts is src/queue.ts. */
export function resolveImport(from: Source, name: string): string {
  return normalize(join(dirname(from.path), name)).replace(/\.js$/, ".ts");
}

export function withoutComments(code: string): string {
  return code.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
}
