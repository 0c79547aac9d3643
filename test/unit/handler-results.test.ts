/** What a handler may be and may return: a generator's lines would run for nobody. */
import type { Handler } from "millrace";
import { describe, expect, test } from "vitest";
import { open } from "../support/broker.js";
import { until } from "../support/waiting.mjs";

function* lines(ran: () => void): Generator<number> {
  ran();
  yield 1;
}
async function* later(ran: () => void): AsyncGenerator<number> {
  ran();
  yield 1;
}

describe("a generator", () => {
  test.each([
    ["function*", function* () {}],
    ["async function*", async function* () {}],
  ])("is refused as a handler: %s", async (_, handler) => {
    const queue = await (await open()).queue("tasks");
    expect(() => queue.consume(handler as never)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", name: "TypeError" }),
    );
  });

  test.each([
    ["returned", (ran: () => void) => () => lines(ran)],
    ["returned, async", (ran: () => void) => () => later(ran)],
    ["resolved to", (ran: () => void) => async () => lines(ran)],
    ["resolved to, async", (ran: () => void) => async () => later(ran)],
  ])("that was %s is a failure, not an ack", async (_, make) => {
    const broker = await open();
    const queue = await broker.queue("tasks", { maxDeliveries: 1 });
    let ran = 0;
    queue.consume(make(() => ran++) as unknown as Handler<unknown>);
    await queue.send(1);
    await until(() => queue.stats().deadLettered === 1, "the dead letter");
    expect(queue.stats().acked).toBe(0);
    expect(ran).toBe(0);
    const [letter] = (await broker.queue("tasks.dead")).peek();
    expect(letter?.deadLetter?.reason).toContain("generator");
  });
});

test.each([undefined, null, 0, "text", Symbol("s"), [1], new Map(), { next: 1 }])(
  "a handler may return %s",
  async (value) => {
    const queue = await (await open()).queue("tasks");
    queue.consume(() => value);
    await queue.send(1);
    await until(() => queue.stats().acked === 1, "the ack");
  },
);
