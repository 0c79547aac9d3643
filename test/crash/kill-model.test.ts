/** The judge of the kill campaign: it must see every broken promise, or the campaign proves nothing. */
import { describe, expect, test } from "vitest";
import { Model } from "./fixtures/kill-model.mjs";

/** Journals of lives, one string each, lines separated by "; ". What is wrong with the last of them. */
function verdict(...lives: string[]): string[] {
  const model = new Model();
  let wrong: string[] = [];
  for (const life of lives) {
    expect(wrong, "an earlier life").toEqual([]);
    wrong = model.take(
      life
        .split("; ")
        .map((line) => `${line}\n`)
        .join(""),
    );
  }
  return wrong;
}

const begun = "send q 1 2 3; sent q 1 1 2 2 3 3; took q 1 1 1 0; may q 1; done q 1; took q 2 1 2 0; may q 2";

describe("the kill campaign's model is content with", () => {
  test.each([
    ["everything that was owed", [begun, "found q 2 2; found q 3 3; found-all"]],
    ["a settlement that was under way", [begun, "found q 3 3; found-all"]],
    ["a send that was under way, kept", ["send q 1", "found q 1 1; found-all"]],
    ["a send that was under way, gone", ["send q 1", "found-all"]],
    ["a batch that was under way, kept", ["batch q 1 2", "found q 1 1; found q 2 2; found-all"]],
    ["a batch that was under way, gone", ["batch q 1 2", "found-all"]],
    ["a batch that was partly settled", ["batch q 1 2; took q 1 1 1 0; may q 1", "found q 2 2; found-all"]],
    [
      "a rejected message among the dead",
      [`${begun}; took q 3 1 3 0; may q 3; done q 3 rejected`, "found q 2 2; found q.dead 1 3; found-all"],
    ],
    ["a message that died of its deliveries", [begun, "found q 2 2; found q.dead 1 3; found-all"]],
    [
      "redeliveries ahead of newer ones",
      [
        "send q 1 2 3; sent q 1 1 2 2 3 3; took q 3 1 3 0",
        "found q 3 3; found q 1 1; found q 2 2; found-all",
      ],
    ],
    ["a life that did not come to look", [begun, "found q 3 3", "found q 2 2; found q 3 3; found-all"]],
  ])("%s", (_, lives) => {
    expect(verdict(...lives)).toEqual([]);
  });
});

describe("the kill campaign's model complains about", () => {
  test.each([
    ["an accepted message that is lost", [begun, "found q 2 2; found-all"], "accepted and is lost"],
    [
      "a settled message that is back",
      [begun, "found q 1 1; found q 2 2; found q 3 3; found-all"],
      "its settlement had resolved",
    ],
    ["a settled message that is delivered", [`${begun}; took q 1 2 1 0`], "delivered after its settlement"],
    [
      "a message that nobody sent",
      [begun, "found q 2 2; found q 3 3; found q 4 9; found-all"],
      "never sent there",
    ],
    ["a message of another queue", [begun, "found q 2 2; found p 3 3; found-all"], "never sent there"],
    [
      "a message that is there twice",
      [begun, "found q 2 2; found q 3 3; found q 4 3; found-all"],
      "is there twice",
    ],
    ["another seq", [begun, "found q 2 2; found q 7 3; found-all"], "is now message 7"],
    ["a seq for two messages", [`${begun}; send q 4; sent q 4 3`], "has the seq of 4 too"],
    ["half a batch", ["batch q 1 2 3", "found q 1 1; found q 3 2; found-all"], "only 2 are there"],
    [
      "half an accepted batch",
      ["batch q 1 2; sent q 1 1 2 2", "found q 1 1; found-all"],
      "accepted and is lost",
    ],
    [
      "a message that somebody saw and that is lost",
      ["send q 1; took q 1 1 1 0", "found-all"],
      "accepted and is lost",
    ],
    [
      "one that was found once and is lost",
      ["send q 1", "found q 1 1; found-all", "found-all"],
      "accepted and is lost",
    ],
    [
      "one that was gone and appears",
      ["send q 1", "found-all", "found q 1 1; found-all"],
      "was not in the store before",
    ],
    [
      "one that was settled for good and appears",
      [begun, "found q 3 3; found-all", "found q 2 2; found q 3 3; found-all"],
      "was not in the store before",
    ],
    [
      "a rejected message that is nowhere",
      [`${begun}; took q 3 1 3 0; may q 3; done q 3 rejected`, "found q 2 2; found-all"],
      "no dead letter",
    ],
    [
      "a dead letter that is lost",
      [begun, "found q 2 2; found q.dead 1 3; found-all", "found q 2 2; found-all"],
      "was a dead letter and is lost",
    ],
    [
      "a dead letter that waits as well",
      [begun, "found q 2 2; found q 3 3; found q.dead 1 3; found-all"],
      "waiting and dead at once",
    ],
    [
      "a delivery that was not counted",
      [begun, "found q 2 2; found q 3 3; found-all; took q 2 1 2 0"],
      "after its delivery 1",
    ],
    [
      "first deliveries out of order",
      ["send q 1 2; sent q 1 1 2 2; took q 2 1 2 0; took q 1 1 1 0"],
      "for the first time after message 2",
    ],
    [
      "a queue out of order",
      [
        "send q 1 2 3 4; sent q 1 1 2 2 3 3 4 4",
        "found q 4 4; found q 2 2; found q 3 3; found q 1 1; found-all",
      ],
      "is not in order",
    ],
    ["what the child itself found wrong", ["wrong altered bytes"], "altered bytes"],
  ])("%s", (_, lives, complaint) => {
    expect(verdict(...lives).join("; ")).toContain(complaint);
  });
});
