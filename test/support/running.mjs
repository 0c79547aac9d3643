/** Programs that a test run starts: each in a group of its own, ended whole at its limit or with the run. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const minutes = 60_000;

// No colour codes in a file or a CI log.
const plain = process.stdout.isTTY ? {} : { NO_COLOR: "1", FORCE_COLOR: undefined };
const children = new Set();
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    for (const child of children) killGroup(child, signal);
    process.exit(130);
  });
}

function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

/**
 * @param {string[]} command run in the project's folder
 * @param {object} [how]
 * @param {Record<string, string>} [how.environment] beside that of this process
 * @param {number} [how.limit] milliseconds, then it is killed with everything it started. Default 5 minutes
 * @param {boolean} [how.quiet] its output is only collected
 * @param {boolean} [how.inherit] its output is only shown
 * @returns {Promise<{ ok: boolean, code: number | string | null, output: string, pid: number | undefined }>}
 */
export function run(command, { environment = {}, limit = 5 * minutes, quiet = false, inherit = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), {
      cwd: root,
      env: { ...process.env, ...plain, ...environment },
      stdio: ["ignore", inherit ? "inherit" : "pipe", inherit ? "inherit" : "pipe"],
      detached: true,
    });
    children.add(child);
    let output = "";
    const collect = (to) => (chunk) => {
      output += chunk;
      if (!quiet) to.write(chunk);
    };
    child.stdout?.on("data", collect(process.stdout));
    child.stderr?.on("data", collect(process.stderr));
    const timer = setTimeout(() => {
      const text = `stopped: not finished after ${limit / minutes} minutes: ${command.join(" ")}`;
      if (quiet) output += `${text}\n`;
      else console.error(text);
      killGroup(child, "SIGKILL");
    }, limit);
    const end = (code, text) => {
      clearTimeout(timer);
      children.delete(child);
      resolve({ ok: code === 0, code, output: output + text, pid: child.pid });
    };
    child.on("error", (error) => end(error.code, error.message));
    child.on("close", (code) => end(code, ""));
  });
}
