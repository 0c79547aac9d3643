/**
 * Which files the job is about. The list must come out the same when an interrupted job is started again, because
 * messages name files by their index in it: it is sorted, and its hash goes with the job's state.
 */
import { createHash } from "node:crypto";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { FileKind } from "./analysis.js";
import { UsageError } from "./failures.js";

export interface InputFile {
  /** From the root. */
  readonly path: string;
  readonly kind: FileKind;
  readonly bytes: number;
  readonly modifiedMs: number;
}

export interface InputList {
  /** Absolute. */
  readonly root: string;
  readonly files: readonly InputFile[];
  readonly bytes: number;
  /** Of paths, sizes and times. */
  readonly hash: string;
  /** Folders that could not be listed, and files that went away meanwhile. */
  readonly skipped: number;
}

/** Messages and bit sets of the job grow with the number of files; this keeps each under a megabyte. */
const FILES_MAX = 1_000_000;

/** The kind of a document, or of a text that is taken where there are no documents. */
const DOCUMENT_KINDS: readonly [RegExp, FileKind][] = [
  [/\.md$/i, "markdown"],
  [/\.d\.[mc]?ts$/i, "code"],
];
const TEXT_KINDS: readonly [RegExp, FileKind][] = [
  [/\.[mc]?[tj]s$/i, "code"],
  [/\.txt$/i, "text"],
];

/** Lists the documents under `root`, or its other texts if there are none. Symbolic links are not followed. */
export async function listInput(root: string, signal: AbortSignal): Promise<InputList> {
  const documents: InputFile[] = [];
  const texts: InputFile[] = [];
  let skipped = 0;
  const folders = [""];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    signal.throwIfAborted();
    const entries = await readdir(join(root, folder), { withFileTypes: true }).catch((error: Error) => {
      if (folder === "") throw new UsageError(`${root} cannot be listed: ${error.message}`);
      skipped++;
      return [];
    });
    for (const entry of entries) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) folders.push(path);
      if (!entry.isFile()) continue;
      const document = kindOf(entry.name, DOCUMENT_KINDS);
      const kind = document ?? kindOf(entry.name, TEXT_KINDS);
      if (kind === undefined) continue;
      const file = await describe(root, path, kind);
      if (file === undefined) skipped++;
      else (document === undefined ? texts : documents).push(file);
    }
    if (documents.length + texts.length > FILES_MAX) {
      throw new UsageError(`${root} has more than ${FILES_MAX} files; give a smaller directory`);
    }
  }
  return inOrder(root, documents.length > 0 ? documents : texts, skipped);
}

/** How many files of the list are not what they were when it was made. */
export async function countChanged({ root, files }: InputList): Promise<number> {
  let changed = 0;
  for (const { path, kind, bytes, modifiedMs } of files) {
    const now = await describe(root, path, kind);
    if (now?.bytes !== bytes || now.modifiedMs !== modifiedMs) changed++;
  }
  return changed;
}

function inOrder(root: string, files: InputFile[], skipped: number): InputList {
  if (files.length === 0) throw new UsageError(`${root} has no .md, .d.ts, .ts, .js or .txt files`);
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  const hash = createHash("sha256");
  let total = 0;
  for (const { path, bytes, modifiedMs } of files) {
    hash.update(`${path}\0${bytes}\0${modifiedMs}\0`);
    total += bytes;
  }
  return { root, files, bytes: total, hash: hash.digest("hex"), skipped };
}

function kindOf(name: string, kinds: readonly [RegExp, FileKind][]): FileKind | undefined {
  return kinds.find(([pattern]) => pattern.test(name))?.[1];
}

async function describe(root: string, path: string, kind: FileKind): Promise<InputFile | undefined> {
  try {
    const { size, mtimeMs } = await lstat(join(root, path));
    return { path, kind, bytes: size, modifiedMs: mtimeMs };
  } catch {
    return undefined;
  }
}
