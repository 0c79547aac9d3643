/** The main job (examples/agent-pool): that its counts add up, and that nothing stops it from arriving at them. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, onTestFailed, test } from "vitest";
import { addCounts, analyse, noCounts } from "../../build/examples/agent-pool/analysis.js";
import { differences } from "../../build/examples/agent-pool/check.js";
import type { PieceResult } from "../../build/examples/agent-pool/messages.js";
import { LINE_BYTES_MAX, readInput } from "../../build/examples/agent-pool/reading.js";
import { split } from "../../build/examples/agent-pool/splitter.js";
import { Tally } from "../../build/examples/agent-pool/tally.js";
import { makeDirectory } from "../support/directory.mjs";
import { Random, seedOfRun } from "../support/random.mjs";

const seed = seedOfRun();
const job = fileURLToPath(new URL("../../build/examples/agent-pool/agents.js", import.meta.url));
const scratch = makeDirectory();
const input = join(scratch, "input");

/** Each test has its own numbers, so that one test alone replays. */
function randomFor(salt: number): Random {
  onTestFailed(() => console.error(`MILLRACE_TEST_SEED=${seed}`));
  return new Random(seed + salt);
}

const SCRAPS = [
  "# Heading\n",
  "```js\n",
  " * ~~~\n",
  "\n",
  "\r\n",
  "export declare const a: string;\n",
  "word ",
  "\t",
  "[a link](../b.md) and https://example.org/c?d=e(f) ",
  "naïve – 水車 🎡\u2028 ",
  "a-rather-long-word-without-an-end".repeat(9),
  "[text\n](broken) ",
];

/** Looks like text; now and then it is not even UTF-8. */
function randomText(random: Random, scraps: number): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < scraps; i++) {
    const scrap = random.pick(SCRAPS);
    parts.push(random.chance(0.02) ? Buffer.from([0xc3, 0xe6, 0xff, 0x80]) : Buffer.from(scrap));
  }
  return Buffer.concat(parts);
}

function analysePieces(bytes: Buffer, target: number, kind: "markdown" | "code") {
  const sum = noCounts();
  for (const { start, end, line } of split(bytes, target)) {
    addCounts(sum, analyse(bytes.toString("utf8", start, end), { file: 3, kind, line, bytes: end - start }));
  }
  return sum;
}

describe("the splitter", () => {
  test("gives pieces whose counts add up to the count of the file", () => {
    const random = randomFor(1);
    for (let round = 0; round < 500; round++) {
      const bytes = randomText(random, random.integer(0, 300));
      const kind = random.chance(0.5) ? "markdown" : "code";
      const whole = analyse(bytes.toString(), { file: 3, kind, line: 1, bytes: bytes.length });
      expect(analysePieces(bytes, random.integer(1, 1000), kind)).toEqual(whole);
    }
  });

  test("covers the file, ends pieces at line ends and keeps them small where lines allow", () => {
    const random = randomFor(2);
    for (let round = 0; round < 500; round++) {
      const bytes = randomText(random, random.integer(1, 300));
      const target = random.integer(1, 1000);
      let at = 0;
      for (const { start, end } of split(bytes, target)) {
        expect(start).toBe(at);
        expect(end === bytes.length || bytes[end - 1] === 10).toBe(true);
        const lineEnds = bytes.subarray(start, end - 1).filter((byte) => byte === 10).length;
        expect(end - start <= target || lineEnds === 0).toBe(true);
        at = end;
      }
      expect(at).toBe(bytes.length);
    }
  });

  test("makes one empty piece of an empty file", () => {
    expect(split(Buffer.alloc(0))).toEqual([{ start: 0, end: 0, line: 1 }]);
  });
});

describe("the analysis", () => {
  test("counts what a person would", () => {
    const text =
      "# One\nsee [two](three.md), https://example.org\n```\nx\n```\n  the longest line of all is this one, by far\n";
    const counts = analyse(text, { file: 7, kind: "markdown", line: 11, bytes: text.length });
    expect(counts).toEqual({
      bytes: text.length,
      lines: 6,
      words: 18,
      links: 2,
      fences: 2,
      headings: 1,
      exports: 0,
      longest: { characters: 45, file: 7, line: 16 },
    });
  });

  test("counts exports in code, and no headings", () => {
    const text = "export class A {}\n  export type B = 1;\n# no heading\nexported;";
    const counts = analyse(text, { file: 0, kind: "code", line: 1, bytes: text.length });
    expect(counts).toMatchObject({ exports: 2, headings: 0, lines: 4 });
  });
});

describe("the tally", () => {
  function resultsOf(files: number, random: Random): PieceResult[] {
    const results: PieceResult[] = [];
    for (let file = 0; file < files; file++) {
      const pieces = random.integer(1, 20);
      for (let piece = 0; piece < pieces; piece++) {
        const counts = { ...noCounts(), bytes: file * 100 + piece, lines: 1 };
        counts.longest = { characters: random.integer(0, 8), file, line: piece + 1 };
        results.push({ file, piece, pieces, unreadable: false, counts });
      }
    }
    return results;
  }

  test("is the same in any order, with duplicates, and across saved states", () => {
    const random = randomFor(3);
    const files = 40;
    const results = resultsOf(files, random);
    const plain = { totals: noCounts(), unreadable: 0 };
    for (const { counts } of results) addCounts(plain.totals, counts);
    const deliveries = [...results, ...results.filter(() => random.chance(0.3))]
      .map((result) => ({ result, at: random.next() }))
      .sort((a, b) => a.at - b.at);
    let tally = new Tally(files);
    for (const { result } of deliveries) {
      tally.add(result);
      if (random.chance(0.1)) tally = new Tally(files, JSON.parse(JSON.stringify(tally.toState())));
    }
    expect(tally.done).toBe(true);
    expect(differences(tally, plain)).toEqual([]);
    expect(tally.pieces).toBe(results.length);
    expect(tally.duplicates).toBe(deliveries.length - results.length);
  });

  test("comes to an end when a file shrank between two deliveries of it", () => {
    const tally = new Tally(1);
    const counts = noCounts();
    tally.add({ file: 0, piece: 0, pieces: 5, unreadable: false, counts });
    tally.add({ file: 0, piece: 1, pieces: 5, unreadable: false, counts });
    tally.add({ file: 0, piece: 0, pieces: 2, unreadable: false, counts });
    expect(tally.done).toBe(true);
  });

  test("tells every figure that differs", () => {
    const tally = new Tally(1);
    const plain = { totals: { ...noCounts(), words: 1 }, unreadable: 2 };
    expect(differences(tally, plain)).toEqual([
      "words: the agents found 0, the plain count 1",
      "unreadable files: the agents found 0, the plain count 2",
    ]);
  });
});

describe("reading", () => {
  test("sets aside what is not there and what has a line that is too long", async () => {
    const path = join(scratch, "lines.md");
    const longest = Buffer.alloc(LINE_BYTES_MAX, "a");
    expect(await readInput(join(scratch, "nothing.md"))).toBeUndefined();
    writeFileSync(path, longest);
    expect(await readInput(path)).toHaveLength(LINE_BYTES_MAX);
    writeFileSync(path, Buffer.concat([longest, Buffer.from("a\n")]));
    expect(await readInput(path)).toBeUndefined();
  });
});

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const DEADLINE_MS = 40_000;

/** Starts the job, or a command line; `onOutput` is called with everything it has printed so far. */
function run(
  args: readonly string[] | string,
  onOutput: (child: ChildProcess, text: string) => void = () => {},
) {
  return new Promise<Ended>((resolve) => {
    const options = { timeout: DEADLINE_MS, killSignal: "SIGKILL" as const };
    const child =
      typeof args === "string"
        ? spawn(args, { ...options, shell: true })
        : spawn(process.execPath, [job, ...args], options);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (text) => {
      stdout += text;
      onOutput(child, stdout);
    });
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The part of the closing report that must not depend on how the job went. */
function totalsOf({ stdout, stderr }: Ended): string[] {
  const lines = stdout.split("\n");
  const first = lines.findIndex((line) => line.startsWith("files  "));
  const last = lines.findIndex((line) => line.startsWith("longest line  "));
  expect(first, stdout + stderr).toBeGreaterThan(-1);
  return lines.slice(first, last + 1);
}

function figureOf({ stdout }: Ended, label: RegExp): number {
  return Number(label.exec(stdout)?.[1]?.replaceAll(",", ""));
}

function freshData(): string {
  return mkdtempSync(join(scratch, "data-"));
}

describe("Ctrl-C", () => {
  test("asks to stop at first, ends the process when it comes again, and a double signal is one", async () => {
    const { href } = new URL("../../build/examples/agent-pool/interrupt.js", import.meta.url);
    const program = `
      const { interruptSignal } = await import(${JSON.stringify(href)});
      interruptSignal().addEventListener("abort", () => console.log("asked"));
      setInterval(() => {}, 1000);
      console.log("ready");
    `;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      timeout: DEADLINE_MS,
    });
    let output = "";
    const signals: number[] = [];
    let timer: NodeJS.Timeout | undefined;
    child.stdout.on("data", (text) => {
      output += text;
      timer ??= setInterval(() => {
        signals.push(performance.now());
        child.kill("SIGINT");
      }, 20);
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    clearInterval(timer);
    expect({ code, output }).toEqual({ code: 130, output: "ready\nasked\n" });
    expect((signals.at(-1) ?? 0) - (signals[0] ?? 0)).toBeGreaterThan(200);
  });
});

describe("the job", () => {
  let whole: Ended;
  let wholeMs: number;

  beforeAll(async () => {
    const random = new Random(seed);
    mkdirSync(join(input, "deep", "er"), { recursive: true });
    for (let i = 0; i < 240; i++) {
      const name = i % 3 === 0 ? `deep/er/${i}.d.ts` : `${i}.md`;
      writeFileSync(join(input, name), randomText(random, random.integer(20, 900)));
    }
    writeFileSync(join(input, "empty.md"), "");
    writeFileSync(join(input, "long.md"), "a word ".repeat(20_000));
    writeFileSync(join(input, "too-long.md"), Buffer.alloc(LINE_BYTES_MAX + 1, "a"));
    writeFileSync(join(input, "not-listed.txt"), "text");
    const from = performance.now();
    whole = await run([input, "--data", freshData()]);
    wholeMs = performance.now() - from;
  });

  test("ends with the totals of a plain count, although a worker dies in the middle", () => {
    expect(whole.stdout + whole.stderr).toContain("checked: equal");
    expect(whole.code).toBe(0);
    expect(whole.stdout).toContain("243, 1 left out: unreadable");
    expect(figureOf(whole, /redeliveries +([\d,]+)/)).toBeGreaterThan(0);
  });

  test("replaces the worker that died", async () => {
    const ended = await run([input, "--threads", "1"]);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toContain("a worker thread was killed on purpose");
    expect(figureOf(ended, /threads restarted +([\d,]+)/)).toBe(1);
    expect(totalsOf(ended)).toEqual(totalsOf(whole));
  });

  test("spares the worker if asked to", async () => {
    const ended = await run([input, "--no-kill", "--threads", "1"]);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).not.toContain("worker thread was killed");
    expect(figureOf(ended, /threads restarted +([\d,]+)/)).toBe(0);
    expect(figureOf(ended, /redeliveries +([\d,]+)/)).toBe(0);
    expect(totalsOf(ended)).toEqual(totalsOf(whole));
  });

  test.each(["SIGINT", "SIGKILL"] as const)(
    "goes on after %s at any moment, to the same totals",
    async (signal) => {
      const random = randomFor(signal === "SIGINT" ? 4 : 5);
      const data = freshData();
      let command = "";
      for (let round = 0; round < 7; round++) {
        const afterMs = random.next() * wholeMs * 0.5;
        const ended = await run(
          [input, "--data", data],
          once((child) => setTimeout(() => child.kill(signal), afterMs)),
        );
        if (ended.code === 0) continue;
        if (signal === "SIGKILL") {
          expect(ended).toMatchObject({ signal, stderr: "" });
        } else {
          expect(ended).toMatchObject({ code: 130, stderr: "" });
          command = /to continue:\n {2}(.+)/.exec(ended.stdout)?.[1] ?? "";
          expect(command).toContain(data);
        }
      }
      const last = await run(command === "" ? [input, "--data", data] : command);
      expect(last.code, last.stdout + last.stderr).toBe(0);
      expect(last.stdout).toContain("checked: equal");
      expect(figureOf(last, /the job's start number (\d+)/)).toBeGreaterThan(1);
      expect(totalsOf(last)).toEqual(totalsOf(whole));
    },
  );

  test("refuses data of another directory, and of other files, with exit code 2", async () => {
    const data = freshData();
    const other = join(scratch, "other");
    mkdirSync(other);
    writeFileSync(join(other, "a.txt"), "one two\n");
    expect((await run([other, "--data", data])).code).toBe(0);
    const elsewhere = await run([input, "--data", data]);
    expect(elsewhere.code).toBe(2);
    expect(elsewhere.stderr).toContain(`holds a job over ${other}`);
    writeFileSync(join(other, "b.txt"), "three\n");
    const changed = await run([other, "--data", data]);
    expect(changed.code).toBe(2);
    expect(changed.stderr).toContain("have changed since");
  });

  test("started again when it is done, tells the same totals", async () => {
    const data = freshData();
    await run([input, "--data", data]);
    const again = await run([input, "--data", data]);
    expect(again.code, again.stderr).toBe(0);
    expect(totalsOf(again)).toEqual(totalsOf(whole));
  });

  test.each([
    [["--threads", "0"], "--threads must be a whole number from 1 to 64"],
    [["--threads", "1e1"], "--threads must be a whole number"],
    [["--data"], "--data"],
    [["--data", ""], "cannot be empty"],
    [["--dota", "x"], "--dota"],
    [["one", "two"], "give one directory"],
    [["no/such/directory"], "cannot be listed"],
    [[join(scratch, "nothing-there")], "cannot be listed"],
    [[input, "--data", job], "cannot be the data directory"],
  ])("explains %j, with exit code 2", async (args, message) => {
    const ended = await run(args);
    expect(ended.stderr).toContain(message);
    expect(ended.stderr).not.toContain("    at ");
    expect(ended.code).toBe(2);
  });

  test("--help tells what can be given", async () => {
    const ended = await run(["--help"]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    for (const option of ["--data", "--threads", "--no-kill"]) expect(ended.stdout).toContain(option);
  });
});

/** Calls `then` with the child at its first output: its handlers are in place by then. */
function once(then: (child: ChildProcess) => void): (child: ChildProcess) => void {
  let called = false;
  return (child) => {
    if (!called) then(child);
    called = true;
  };
}
