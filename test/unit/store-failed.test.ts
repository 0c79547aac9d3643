/** A store that can no longer be written: everybody who uses it is told, and none of what was accepted is lost. */
import { closeSync, readdirSync, readlinkSync } from "node:fs";
import { Broker } from "millrace";
import { expect, test } from "vitest";
import { coded, open, temporaryDirectory } from "../support/broker.js";
import { until, within } from "../support/waiting.mjs";

/** Takes the files of the log away from under the engine: its next write fails with EBADF. */
function breakStore(dir: string): void {
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`).startsWith(`${dir}/segment`)) closeSync(Number(fd));
    } catch {
      // The descriptor of this very listing.
    }
  }
}

test("after a failed write senders, consumers, streams and pools hear STORE_FAILED", async () => {
  const dir = temporaryDirectory();
  const broker = await open({ dir, segmentBytes: 256 << 10 });
  const kept = await broker.queue<string>("kept");
  await kept.send("accepted");
  const queue = await broker.queue<string>("tasks");
  const consumerErrors: Error[] = [];
  const poolErrors: Error[] = [];
  const consumer = queue.consume(() => {}, { onError: (error) => consumerErrors.push(error) });
  const stream = queue.receive();
  const next = stream.next();
  next.catch(() => {});
  const agent = new URL("./fixtures/agent.mjs", import.meta.url);
  const pool = queue.consumeInWorkers(agent, { threads: 1, onError: (error) => poolErrors.push(error) });
  await within(pool.ready, "the pool");

  breakStore(dir);
  const failed = coded("STORE_FAILED");
  await expect(queue.send("refused")).rejects.toEqual(failed);
  await expect(within(next, "the stream")).rejects.toEqual(failed);
  await within(consumer.closed, "the consumer's end");
  expect(consumerErrors).toEqual([failed]);
  await expect(within(pool.closed, "the pool's end")).rejects.toEqual(failed);
  await until(() => poolErrors.length > 0, "the pool's onError");
  expect(poolErrors).toContainEqual(failed);
  await expect(queue.send("refused")).rejects.toEqual(failed);
  expect(() => queue.consume(() => {})).toThrow(expect.objectContaining({ code: "STORE_FAILED" }));
  expect(() => queue.consumeInWorkers(agent)).toThrow(expect.objectContaining({ code: "STORE_FAILED" }));
  await expect(broker.close()).rejects.toEqual(failed);

  const again = await Broker.open({ dir });
  const bodies = (await again.queue<string>("kept")).peek().map(({ body }) => body);
  await again.close();
  expect(bodies).toEqual(["accepted"]);
});
