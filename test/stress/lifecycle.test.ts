/**
 * How threads end, at every stage of a broker's life. Each case runs in a process of its own, several times over: a
 * crash of the process is a failed case.
 */
import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const fixture = (name: string): URL => new URL(`./fixtures/${name}.mjs`, import.meta.url);

const stages = [
  "load",
  "opening",
  "open",
  "attach",
  "send",
  "batch",
  "receive",
  "consume",
  "blocked",
  "closing",
  "closed",
];
const deaths = ["return", "exit", "uncaught", "rejection", "terminate", "memory", "collect"];
const kinds = ["memory", "durable"];

const cases = stages.flatMap((stage) =>
  deaths.flatMap((death) => kinds.map((kind) => [kind, stage, death] as const)),
);

describe("a process whose worker threads end", () => {
  test.concurrent.for(cases)(
    "lives on: %s broker, at %s, by %s",
    { timeout: 90_000 },
    async ([kind, stage, death], { expect }) => {
      const ended = await runNode(fixture("matrix"), {
        args: [kind, stage, death],
        node: ["--expose-gc"],
        deadlineMs: 60_000,
      });
      expect(ended, `${ended.stdout}\n${ended.stderr}`).toMatchObject({ code: 0, signal: null });
      expect(ended.stdout).toContain("intact\n");
    },
  );
});

describe("two copies of the addon in one process", () => {
  test("work side by side, also in worker threads that end, and do not mistake each other's brokers", async () => {
    const copy = join(temporaryDirectory(), "millrace");
    mkdirSync(join(copy, "build", "Release"), { recursive: true });
    cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
    cpSync(join(root, "package.json"), join(copy, "package.json"));
    cpSync(join(root, "build", "Release", "millrace.node"), join(copy, "build", "Release", "millrace.node"));
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    const ended = await runNode(fixture("two-copies"), {
      args: [join(copy, "dist", "index.js"), temporaryDirectory()],
    });
    expect(ended, `${ended.stdout}\n${ended.stderr}`).toMatchObject({ code: 0, signal: null });
    expect(ended.stdout).toContain("intact\n");
  });
});
