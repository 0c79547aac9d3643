// The TypeScript tests on every Node.js that is in use: `npm run test:nodes`, `npm run test:nodes -- --only 24`, and with
// names of test files. Each version comes from the npm registry (what the package `node` installs) into build/nodes/.
// One addon serves all of them: it uses Node-API only.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const versions = ["20.20.2", "22.23.3", "24.21.0", "26.10.0"];
/** What a test prints that does something else on this version: test/support/node-version.ts. */
const adaptedMark = "ADAPTED to Node.js";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const args = process.argv.slice(2);
const at = args.indexOf("--only");
const only = at < 0 ? undefined : args.splice(at, 2)[1];
const chosen = versions.filter((version) => only === undefined || version.split(".")[0] === only);
if (chosen.length === 0) {
  console.error(`--only takes one of ${versions.map((version) => version.split(".")[0]).join(", ")}`);
  process.exit(2);
}

/** The path of this version's executable, downloaded when it is not there. */
function nodeOf(version) {
  const folder = join(root, "build", "nodes", version);
  const name = `node-linux-${process.arch}`;
  const node = join(folder, "node_modules", name, "bin", "node");
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    // A package of its own: npm would take the project's for the place to install to.
    writeFileSync(join(folder, "package.json"), '{"private":true}\n');
    const npm = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", `${name}@${version}`];
    const { status } = spawnSync("npm", npm, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
    if (status !== 0) throw new Error(`Node.js ${version} could not be installed`);
  }
  const said = spawnSync(node, ["--version"], { encoding: "utf8" }).stdout?.trim();
  if (said !== `v${version}`) throw new Error(`${node} says that it is ${said}`);
  return node;
}

/** Runs the tests and tells how many passed, failed, were skipped and adapted. */
async function testOn(version) {
  const node = nodeOf(version);
  const report = join(root, "build", "nodes", `${version}.json`);
  rmSync(report, { force: true });
  console.log(`\n==== Node.js ${version}\n`);
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  // What a test starts by the name "node" is this version too.
  const env = { ...process.env, PATH: `${dirname(node)}:${process.env.PATH}` };
  const child = spawn(node, [vitest, "run", ...reporters, ...args], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let adapted = 0;
  child.stdout.setEncoding("utf8");
  for await (const text of child.stdout) {
    process.stdout.write(text);
    adapted += text.split(adaptedMark).length - 1;
  }
  const code = child.exitCode ?? (await new Promise((resolve) => child.once("exit", resolve)));
  const { numPassedTests, numFailedTests, numPendingTests } = existsSync(report)
    ? JSON.parse(readFileSync(report, "utf8"))
    : {};
  return {
    version,
    passed: numPassedTests,
    failed: numFailedTests,
    skipped: numPendingTests,
    adapted,
    ok: code === 0,
  };
}

const results = [];
for (const version of chosen) results.push(await testOn(version));
console.log("");
console.table(results);
if (results.some(({ ok }) => !ok)) process.exitCode = 1;
