/** Programs in processes of their own, so that a crash is a failed case and not the end of the run. */
import { spawn } from "node:child_process";

/** @typedef {{ code: number | null, signal: NodeJS.Signals | null, stdout: string, stderr: string, ms: number }} Ended */

/**
 * Runs a Node program to its end; kills it at the deadline (`signal` is then "SIGKILL").
 *
 * @param {string | URL} program path of the file
 * @param {{ args?: string[], node?: string[], deadlineMs?: number, env?: Record<string, string> }} [how]
 *   `node`: flags of Node itself
 * @returns {Promise<Ended>}
 */
export function runNode(program, { args = [], node = [], deadlineMs = 60_000, env = {} } = {}) {
  const path = program instanceof URL ? program.pathname : program;
  const from = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...node, path, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      // Not those of the test runner: they are for its own processes.
      env: { ...process.env, NODE_OPTIONS: "", NODE_V8_COVERAGE: "", ...env },
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), deadlineMs);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr, ms: performance.now() - from });
    });
  });
}
