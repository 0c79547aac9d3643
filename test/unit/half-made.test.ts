/** Native objects while they are made. */
import { expect, test } from "vitest";
import { runNode } from "../support/child.mjs";

test("no code of others runs while a native object is made", async () => {
  const { code, signal, stdout, stderr } = await runNode(
    new URL("./fixtures/half-made.mjs", import.meta.url),
  );
  expect({ code, signal, stdout }, stderr).toEqual({ code: 0, signal: null, stdout: "lives\n" });
});
