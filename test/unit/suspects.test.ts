/** A message that kills the process is buried after its own deaths, and its neighbours never: in real processes. */
import { expect, test } from "vitest";
import { open, temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";
import { Random, seedOfRun } from "../support/random.mjs";

const fixture = new URL("./fixtures/poison.mjs", import.meta.url);

test.each([
  ["async handlers", { how: "consume", concurrency: 4 }, 5],
  ["synchronous handlers", { how: "consume", sync: true }, 2],
  ["two consumers", { how: "two consumers", concurrency: 2 }, 1],
  ["two queues", { how: "consume", queues: 2, concurrency: 4 }, 2],
  ["two queues, taken one by one", { how: "consume", queues: 2, prefetch: 1 }, 1],
  ["a pool", { how: "pool", concurrency: 2 }, 2],
  ["a loop", { how: "loop", prefetch: 16 }, 2],
])("poison among %s dies alone", { timeout: 120_000 }, async (_, given, maxDeliveries) => {
  const seed = seedOfRun();
  const random = new Random(seed);
  const dir = temporaryDirectory();
  const plan = { queues: 1, messages: 20, prefetch: 64, concurrency: 1, ...given, maxDeliveries };
  const poison = [random.integer(0, plan.queues - 1), random.integer(0, plan.messages - 1)];
  let deaths = 0;
  for (;;) {
    const ended = await runNode(fixture, { args: [dir, JSON.stringify({ ...plan, poison })] });
    if (ended.signal === null) {
      expect(ended, `seed ${seed}`).toMatchObject({ code: 0 });
      break;
    }
    expect(ended.signal).toBe("SIGKILL");
    // The first death, when nobody was suspected yet, charges nobody.
    expect(++deaths, `seed ${seed}`).toBeLessThanOrEqual(maxDeliveries + 1);
  }
  const broker = await open({ dir });
  const letters = [];
  for (let i = 0; i < plan.queues; i++) {
    const queue = await broker.queue(`q${i}.dead`);
    letters.push(...queue.peek(100).map(({ body, deadLetter }) => ({ body, reason: deadLetter?.reason })));
  }
  const [queue, place] = poison;
  expect(letters, `seed ${seed}`).toEqual([{ body: { queue, place }, reason: "the process died" }]);
  expect(deaths, `seed ${seed}`).toBe(maxDeliveries + 1);
});
