/** A disk that is full: new messages are refused, everything else goes on, and so do sends when there is space again. */
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { runNode } from "../support/child.mjs";
import { makeDirectory, removeDirectory } from "../support/directory.mjs";

const disk = makeDirectory();
const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=16m", "millrace-test", disk]);
const possible = mounted.status === 0;
if (!possible) {
  console.warn(`SKIPPED: the tests of a full disk need the right to mount a tmpfs: ${mounted.stderr}`);
}

const story = new URL("./fixtures/full-disk.mjs", import.meta.url);

afterAll(() => {
  if (possible) spawnSync("umount", [disk]);
  removeDirectory(disk);
});

describe.skipIf(!possible)("on a disk of 16 MiB", () => {
  beforeAll(() => {
    expect(spawnSync("mountpoint", ["-q", disk]).status).toBe(0);
  });

  beforeEach(() => {
    for (const name of readdirSync(disk)) rmSync(join(disk, name), { recursive: true });
  });

  // In a process of its own: a SIGBUS is a failed case.
  test.each([
    ["sync", "fill", "a backlog that fills it meets DISK_FULL; ack, nack and purge make room again"],
    ["process", "fill", "a backlog that fills it meets DISK_FULL; ack, nack and purge make room again"],
    ["sync", "stolen", "space that others take and give back stops sends and lets them go on"],
    ["process", "stolen", "space that others take and give back stops sends and lets them go on"],
    ["sync", "batch", "batches are refused whole"],
    ["sync", "dead", "rejected messages are not lost when their dead letters find no room"],
    ["sync", "full-from-start", "a store cannot be made where there is no space, and can be when there is"],
    ["sync", "reopen-full", "a full store opens again on a full disk, and everything is in it"],
  ])("%s, %s: %s", async (level, how) => {
    const ended = await runNode(story, {
      args: [join(disk, `${how}-${level}`), disk, level, how],
      deadlineMs: 60_000,
    });
    expect(ended, `${ended.stdout}\n${ended.stderr}`).toMatchObject({ code: 0, signal: null });
    expect(ended.stdout).toContain("intact\n");
  });
});
