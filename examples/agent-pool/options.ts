/** The command line of the main job, and the command line that continues it. */
import { availableParallelism } from "node:os";
import { relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { UsageError } from "./failures.js";

export interface Options {
  /** Absolute. */
  readonly directory: string;
  /** Absolute; undefined: a fresh temporary directory, removed after success. */
  readonly data: string | undefined;
  /** Worker threads of each of the two stages. */
  readonly threads: number;
  readonly kill: boolean;
}

const THREADS_MAX = 64;
const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

export const HELP = `usage: npm start -- [directory] [options]

Agents in worker threads read every Markdown and .d.ts file under the directory (by default the project's
installed packages), hand the pieces on over durable queues, and count what is in them.

  --data DIR     keep the queues here, and continue what was begun here (default: a temporary directory)
  --threads N    worker threads of each of the two stages, 1 to ${THREADS_MAX} (default: ${availableParallelism()})
  --no-kill      do not kill a worker thread in the middle
  --help         this text

Ctrl-C stops the job and prints the command that continues it.
`;

/** Reads the arguments; undefined: help is wanted. Throws UsageError. */
export function readArguments(args: readonly string[]): Options | undefined {
  refuseSwallowedOptions();
  const { values, positionals } = parse(args);
  if (values.help === true) return undefined;
  if (positionals.length > 1) throw new UsageError("give one directory, not several");
  const given = positionals[0];
  if (given === "" || values.data === "") throw new UsageError("a directory's name cannot be empty");
  // npm changes to the project's folder for a script: a path that was typed is relative to where it was typed.
  const from = runByNpm() ? (process.env.INIT_CWD ?? process.cwd()) : process.cwd();
  return {
    directory: given === undefined ? resolve(ROOT, "node_modules") : resolve(from, given),
    data: values.data === undefined ? undefined : resolve(from, values.data),
    threads: values.threads === undefined ? availableParallelism() : threadCount(values.threads),
    kill: values["no-kill"] !== true,
  };
}

/** What to type to go on with the job whose data is in `data`. */
export function continueCommand(options: Options, data: string): string {
  const script = fileURLToPath(new URL("./agents.js", import.meta.url));
  const program = runByNpm() ? ["npm", "start", "--"] : ["node", shorter(script)];
  const words = [...program, options.directory, "--data", data];
  if (options.threads !== availableParallelism()) words.push("--threads", String(options.threads));
  if (!options.kill) words.push("--no-kill");
  return words.map(quoted).join(" ");
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        data: { type: "string" },
        threads: { type: "string" },
        "no-kill": { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    // Of node's explanations the first sentence is about the argument; the rest is about node's own parser.
    throw new UsageError(String((error as Error).message.split(/\. |\n/)[0]));
  }
}

function threadCount(text: string): number {
  const threads = /^\d+$/.test(text) ? Number(text) : 0;
  if (threads < 1 || threads > THREADS_MAX) {
    throw new UsageError(`--threads must be a whole number from 1 to ${THREADS_MAX}, not "${text}"`);
  }
  return threads;
}

function runByNpm(): boolean {
  return process.env.npm_lifecycle_event === "start";
}

/** Without `--`, npm takes options for its own settings and the job would run with its defaults instead. */
function refuseSwallowedOptions(): void {
  if (!runByNpm()) return;
  for (const name of ["data", "threads", "kill"]) {
    if (process.env[`npm_config_${name}`] !== undefined) {
      throw new UsageError(
        "npm keeps options that stand before --; type: npm start -- [directory] [options]",
      );
    }
  }
}

function shorter(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near;
}

function quoted(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
