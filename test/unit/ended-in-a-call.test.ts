/** JavaScript that is terminated while native code waits for it takes nothing else along. */
import { expect, test } from "vitest";
import { runNode } from "../support/child.mjs";

const program = new URL("./fixtures/ended-in-a-call.mjs", import.meta.url);

test.each([
  ["makeError", "terminate"],
  ["hooks", "terminate"],
  ["hooks", "time limit"],
  ["makeError", "time limit"],
  ["turn", "terminate"],
  ["timer", "terminate"],
])("the process lives when %s is ended by %s", async (what, by) => {
  const ended = await runNode(program, { args: [what, by], deadlineMs: 20_000 });
  expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null, stdout: "lives\n" });
});
