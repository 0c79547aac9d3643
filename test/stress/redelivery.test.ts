/** When a thread dies, its messages are somebody else's within milliseconds: an event, not a timeout. */
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { levels, openBroker } from "../support/broker.js";
import { within } from "../support/waiting.mjs";

const rounds = 15;

describe.each(levels)("the messages of a dead worker on a $level queue", (level) => {
  test.each(["terminate", "exit", "uncaught", "memory"])(
    "are delivered to a waiting consumer at once after %s",
    async (death) => {
      const broker = await openBroker(level);
      const queue = await broker.queue<number>("tasks", { ...level.queue, maxDeliveries: 0 });
      const took: number[] = [];
      for (let round = 0; round < rounds; round++) {
        await queue.send(round);
        const worker = new Worker(new URL("./fixtures/holder.mjs", import.meta.url), {
          workerData: { handle: broker.handle, death },
          ...(death === "memory" ? { resourceLimits: { maxOldGenerationSizeMb: 16 } } : {}),
        });
        const dying = new Promise<number>((resolve) => {
          worker.on("error", () => {});
          // "exit" is emitted when the thread is gone.
          worker.once("exit", () => resolve(performance.now()));
        });
        await within(
          new Promise((resolve) => worker.once("message", resolve)),
          "the worker holds the message",
        );
        const stream = queue.receive();
        const next = stream.next().then((result) => ({ result, at: performance.now() }));
        if (death === "terminate") void worker.terminate();
        else worker.postMessage("die");
        const { result, at } = await within(next, "the redelivery");
        took.push(at - (await dying));
        expect(result.value).toMatchObject({ body: round, deliveryCount: 2 });
        await result.value?.ack();
        await stream.return();
      }
      took.sort((a, b) => a - b);
      console.log(
        `${level.level}, ${death}: redelivered ${took.map((ms) => ms.toFixed(1)).join(" ")} ms after the thread's end`,
      );
      // Mostly before the main thread even hears of the end. Generous: a loaded machine may sleep in between.
      expect(took[Math.floor(rounds / 2)]).toBeLessThan(20);
      expect(took.at(-1)).toBeLessThan(1000);
    },
  );
});
