// Makes a clone ready to run: installs the packages, compiles the addon, compiles the TypeScript; each only
// when its inputs changed. `npm start`, `npm test` and the others call it first; with nothing to do it takes
// a fraction of a second.
//
//   node setup.mjs            everything
//   node setup.mjs --addon    the addon only (the `install` script of the published package)
//
// It stands at the top level, in plain JavaScript with nothing but Node's own modules, because it runs before
// anything is installed or compiled, and because the published package needs it beside binding.gyp.
//
// When is a step done again?
//   packages    when node_modules does not hold what package-lock.json lists
//   compiling   when the hash of everything that goes in differs from the one in build/stamps/, which is
//               written only after success: an interrupted step is repeated
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const nodeOldest = [20, 17];
const jobs = 2;
const stillBuildingEveryMs = 30_000;
const failureLinesMax = 60;

/** Something the person at the keyboard has to do; its message is printed alone, without a stack. */
export class SetupError extends Error {}

/**
 * Brings the clone up to date, and builds native test executables on request.
 *
 * @param {object} [what]
 * @param {boolean} [what.nativeTests] also build the native tests (needs `packages`)
 * @param {"" | "thread" | "address"} [what.sanitize] which native tests: plain or under a sanitizer
 * @param {boolean} [what.nativeBench] also build the native benchmark
 * @param {boolean} [what.addonOnly] nothing but the addon, with the packages that are there
 * @returns {Promise<{ nativeTest: string, nativeBench: string }>} paths of the executables
 * @throws {SetupError} when a tool is missing or a step failed
 */
export async function build({
  nativeTests = false,
  sanitize = "",
  nativeBench = false,
  addonOnly = false,
} = {}) {
  checkNode();
  const unlock = await lock();
  try {
    const addon = join("build", "Release", "millrace.node");
    // Asked before anything is downloaded: a missing compiler is better said at once.
    if (!existsSync(join(root, addon))) checkTools("the addon");
    if (!addonOnly) await installPackages();
    await compileNative("millrace", "the addon", ["native"], addon);
    if (!addonOnly) {
      await compileTypeScript("typescript", "the TypeScript", "tsconfig.json", ["src"], "dist", "index.js");
      // They import the package by its name, as a user would: its declarations must be there first.
      const examples = join("build", "examples");
      const main = join("agent-pool", "agents.js");
      const inputs = ["src", "tsconfig.json", "examples"];
      await compileTypeScript(
        "examples",
        "the examples",
        join("examples", "tsconfig.json"),
        inputs,
        examples,
        main,
      );
    }
    const core = ["native/base", "native/os", "native/ring", "native/log", "native/ledger", "native/engine"];
    const nativeTest = join("build", "Release", `millrace_test${sanitize}`);
    if (nativeTests) {
      const how = {
        "": "",
        thread: " (ThreadSanitizer)",
        address: " (Address- and UndefinedBehaviorSanitizer)",
      };
      const label = `the native tests${how[sanitize]}`;
      await compileNative(`millrace_test${sanitize}`, label, [...core, "test/native"], nativeTest, sanitize);
    }
    const bench = join("build", "Release", "millrace_bench");
    if (nativeBench) {
      await compileNative("millrace_bench", "the native benchmark", [...core, "bench/native"], bench);
    }
    return { nativeTest: join(root, nativeTest), nativeBench: join(root, bench) };
  } finally {
    unlock();
  }
}

// ---- the steps

async function installPackages() {
  if (packagesMatchLock()) return;
  // --ignore-scripts: our own install script is this file, and no dependency needs one.
  // --include=dev: also where NODE_ENV=production is set.
  const npm =
    basename(process.env.npm_execpath ?? "") === "npm-cli.js"
      ? [process.execPath, process.env.npm_execpath]
      : ["npm"];
  await step(
    "installing packages (npm ci)",
    [...npm, "ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund"],
    {
      hint: "If the lines above speak of the network, check that the npm registry can be reached and try again.",
    },
  );
}

// npm leaves a copy of the lock file in node_modules when it has finished: the two must name the same
// packages. Packages that are optional (binaries for other platforms) may be missing.
function packagesMatchLock() {
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  let there;
  try {
    there = JSON.parse(readFileSync(join(root, "node_modules", ".package-lock.json"), "utf8"));
  } catch {
    return false;
  }
  for (const [path, { version, integrity, optional }] of Object.entries(wanted.packages)) {
    if (path === "") continue;
    const found = there.packages[path];
    if (found === undefined && optional) continue;
    if (found?.version !== version || found.integrity !== integrity) return false;
    if (!existsSync(join(root, path, "package.json"))) return false;
  }
  return true;
}

async function compileNative(target, label, folders, output, sanitize) {
  const require = createRequire(import.meta.url);
  const nodeGyp = require.resolve("node-gyp/bin/node-gyp.js");
  const nodedir = nodeHeadersFolder();
  const versions = ["node-gyp/package.json", "node-addon-api/package.json"].map(
    (name) => require(name).version,
  );
  const environment = ["CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "PYTHON"].map(
    (name) => process.env[name],
  );
  const { version } = require("./package.json");
  const node = [process.version, process.arch, process.versions.modules, nodedir];
  const inputs = [version, node, versions, environment];
  const hash = hashOf(inputs, [...folders, "binding.gyp"], /\.(cc|h|gyp)$/);
  const upToDate = stampOf(target, hash, output);
  if (upToDate.matches) return;
  checkTools(label);
  upToDate.clear();
  // The plain addon and the executables share one Makefile; each `configure` defines the target it wants.
  const defines = target === "millrace" ? [] : ["--", "-Dnative_tests=1", `-Dsanitize=${sanitize ?? ""}`];
  const gyp = [process.execPath, nodeGyp, "--loglevel=warn", ...(nodedir ? [`--nodedir=${nodedir}`] : [])];
  const hint = nodedir
    ? ""
    : "Node's own headers were not found beside the node executable, so node-gyp downloads them: that needs a network.";
  await step(
    `compiling ${label}`,
    [
      [...gyp, "configure", ...defines],
      [...gyp, "build", target, "-j", String(jobs)],
    ],
    { hint },
  );
  upToDate.write();
}

async function compileTypeScript(stamp, label, project, sources, outputs, main) {
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  const inputs = [
    process.version,
    readFileSync(join(root, "node_modules", "typescript", "package.json"), "utf8"),
  ];
  const hash = hashOf(inputs, [...sources, project], /\.(ts|json)$/);
  const upToDate = stampOf(stamp, hash, join(outputs, main));
  if (upToDate.matches) return;
  upToDate.clear();
  // A file that left its sources must leave the outputs too: it would be packed and could still be imported.
  rmSync(join(root, outputs), { recursive: true, force: true });
  await step(`compiling ${label}`, [process.execPath, compiler, "-p", project, "--pretty", "false"]);
  upToDate.write();
}

// ---- what has to be on the machine

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > nodeOldest[0] || (major === nodeOldest[0] && minor >= nodeOldest[1])) return;
  throw new SetupError(
    `millrace needs Node.js ${nodeOldest.join(".")} or newer; this is ${process.versions.node} (${process.execPath}). ` +
      "Install a current release from your distribution or from nodejs.org, then run the same command again.",
  );
}

// Only asked when something is about to be compiled.
function checkTools(label) {
  if (process.platform !== "linux") {
    throw new SetupError(
      `millrace runs on Linux only for now (its storage layer uses Linux system calls); this is ${process.platform}.`,
    );
  }
  const missing = [];
  // node-gyp finds a Python that is named by one of these itself.
  const pythonNamed =
    process.env.PYTHON || process.env.NODE_GYP_FORCE_PYTHON || process.env.npm_config_python;
  if (!pythonNamed && !answers("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 8))"])) {
    missing.push("Python 3.8 or newer (python3)");
  }
  if (!answers(process.env.MAKE || "make", ["--version"])) missing.push("make");
  const compiler = process.env.CXX || "g++";
  const probe = "#include <atomic>\n#include <span>\nstatic_assert(__cpp_lib_atomic_ref);\n";
  if (!answers("sh", ["-c", `${compiler} -std=c++20 -fsyntax-only -x c++ -`], probe)) {
    missing.push(`a C++20 compiler (${compiler}; GCC 11 or newer, Clang 14 or newer)`);
  }
  if (missing.length === 0) return;
  const list = missing.length === 1 ? missing[0] : `${missing.slice(0, -1).join(", ")} and ${missing.at(-1)}`;
  throw new SetupError(
    `millrace compiles its native core on this machine, and ${label} cannot be compiled: ${list} ` +
      `${missing.length === 1 ? "is" : "are"} missing or too old. On Debian or Ubuntu: apt-get install python3 make g++. ` +
      "On Fedora: dnf install python3 make gcc-c++. (Linux only for now.) Then run the same command again.",
  );
}

function answers(command, args, input = "") {
  return spawnSync(command, args, { input, stdio: ["pipe", "ignore", "ignore"] }).status === 0;
}

// Most installations bring the headers along: <prefix>/bin/node and <prefix>/include/node. Without them
// node-gyp downloads them. An older copy of another version would compile and then misbehave: compare.
function nodeHeadersFolder() {
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  try {
    const header = readFileSync(join(prefix, "include", "node", "node_version.h"), "utf8");
    const version = ["MAJOR", "MINOR", "PATCH"].map(
      (part) => new RegExp(`#define NODE_${part}_VERSION (\\d+)`).exec(header)?.[1],
    );
    if (version.join(".") === process.versions.node) return prefix;
  } catch {
    // No headers there.
  }
  return undefined;
}

// ---- stamps

function hashOf(values, paths, pattern) {
  const hash = createHash("sha256").update(JSON.stringify(values));
  for (const path of paths) {
    for (const file of filesUnder(path, pattern)) {
      hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
    }
  }
  return hash.digest("hex");
}

function filesUnder(path, pattern) {
  if (!existsSync(join(root, path))) return [];
  if (pattern.test(path)) return [path];
  return readdirSync(join(root, path), { recursive: true })
    .map((name) => join(path, name))
    .filter((name) => pattern.test(name))
    .sort();
}

function stampOf(name, hash, output) {
  const file = join(root, "build", "stamps", name);
  return {
    matches: existsSync(file) && existsSync(join(root, output)) && readFileSync(file, "utf8") === hash,
    // Before the work begins: a step that fails half-way leaves outputs that no stamp may vouch for.
    clear() {
      rmSync(file, { force: true });
    },
    write() {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, hash);
    },
  };
}

// ---- one at a time

// Two terminals may start at once. The lock is a name in Linux's abstract socket namespace: the kernel gives
// it to one process and takes it back when that process ends in any way, so it cannot be left behind.
async function lock() {
  if (process.platform !== "linux") return () => {};
  const name = `\0millrace-setup-${createHash("sha256")
    .update(`${process.getuid()}:${realpathSync(root)}`)
    .digest("hex")}`;
  let said = false;
  for (;;) {
    const server = createServer();
    const taken = await new Promise((resolve, reject) => {
      server.once("listening", () => resolve(false));
      server.once("error", (error) => (error.code === "EADDRINUSE" ? resolve(true) : reject(error)));
      server.listen(name);
    });
    if (!taken) {
      server.unref();
      return () => server.close();
    }
    if (!said) say("another setup is running in this folder; waiting for it");
    said = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// ---- running and telling

const startedAt = Date.now();

function say(text) {
  console.error(`[setup ${seconds(startedAt)}] ${text}`);
}

function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1).padStart(5)} s`;
}

// Runs one command, or several in order; quiet unless one fails.
async function step(label, commands, { hint = "" } = {}) {
  const from = Date.now();
  say(`${label} ...`);
  const ticker = setInterval(() => say(`${label}, still at it`), stillBuildingEveryMs);
  try {
    for (const command of Array.isArray(commands[0]) ? commands : [commands]) {
      const { code, output } = await run(command);
      if (code === 0) continue;
      console.error(output.trimEnd().split("\n").slice(-failureLinesMax).join("\n"));
      throw new SetupError(
        `${label} failed (${code}); the last lines of its output are above. ${hint}`.trimEnd(),
      );
    }
  } finally {
    clearInterval(ticker);
  }
  say(`${label}: done in ${seconds(from).trim()}`);
}

function run([command, ...args]) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const collect = (chunk) => {
      output += chunk;
    };
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    child.on("error", (error) => resolve({ code: error.code, output: `${command}: ${error.message}` }));
    child.on("close", (code, signal) => resolve({ code: code ?? signal, output }));
  });
}

/** Calls `main` and turns a SetupError into its message and exit code 1. */
export async function runMain(main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`\n${error.message}\n`);
    process.exitCode = 1;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await runMain(() => build({ addonOnly: process.argv.includes("--addon") }));
}
