/** A store that the system does not let us open: the call, the path and the reason are named. */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Broker } from "millrace";
import { expect, test } from "vitest";
import { coded, temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";

const asNobody = new URL("./fixtures/open-as-nobody.mjs", import.meta.url);

async function refusedTo(dir: string): Promise<{ code: string; message: string }> {
  const { stdout, stderr } = await runNode(asNobody, { args: [dir] });
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

test("a directory that may not be read", async () => {
  const dir = temporaryDirectory();
  chmodSync(dir, 0);
  const { code, message } = await refusedTo(dir);
  chmodSync(dir, 0o700);
  expect(code).toBe("IO_ERROR");
  expect(message).toContain(`open directory ${dir}: Permission denied`);
  expect(message).toMatch(/EACCES|errno 13/);
});

test("a directory that may not be made", async () => {
  const parent = temporaryDirectory();
  chmodSync(parent, 0o555);
  const { code, message } = await refusedTo(join(parent, "store"));
  chmodSync(parent, 0o700);
  expect(code).toBe("IO_ERROR");
  expect(message).toMatch(/mkdir .*store: Permission denied \((EACCES|errno 13)\)/);
});

test("a file where the directory should be", async () => {
  const file = join(temporaryDirectory(), "store");
  writeFileSync(file, "");
  const opened = Broker.open({ dir: file });
  await expect(opened).rejects.toEqual(coded("IO_ERROR"));
  await expect(opened).rejects.toThrow(/ENOTDIR|errno 20/);
});
