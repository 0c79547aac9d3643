/** A log that is full for a moment, again and again: nobody is forgotten while it is. */
import { describe, expect, test } from "vitest";
import { durableLevels, open, take, temporaryDirectory } from "../support/broker.js";
import { until, within } from "../support/waiting.mjs";

describe.each(durableLevels)(
  "under more than a $level log of small segments can take",
  ({ broker: level }) => {
    test("every consumer that looked while there was no room is served", { timeout: 120_000 }, async () => {
      const broker = await open({
        ...level,
        dir: temporaryDirectory(),
        segmentBytes: 256 << 10,
        maxMessageBytes: 12 << 10,
      });
      const queue = await broker.queue<Uint8Array>("tasks", { codec: "bytes", maxDeliveries: 0 });
      const consumers = [1, 2, 3].map(() => queue.consume(() => {}, { prefetch: 1 }));
      const body = Buffer.alloc(12_000);
      const total = 6000;
      let sent = 0;
      await Promise.all(
        Array.from({ length: 64 }, async () => {
          while (sent < total) {
            sent++;
            await queue.send(body);
          }
        }),
      );
      await until(
        () => queue.stats().acked === queue.stats().sent,
        "everything is delivered and acked",
        60_000,
      );
      expect(queue.stats().sent).toBeGreaterThanOrEqual(total);
      await Promise.all(consumers.map((consumer) => consumer.close()));
    });

    test("a consumer that looked while the delivery journal was full is served", async () => {
      const broker = await open({ ...level, dir: temporaryDirectory() });
      const queue = await broker.queue<number>("tasks", { maxDeliveries: 0 });
      const total = 20_000;
      await Promise.all(Array.from({ length: total }, (_, i) => queue.send(i)));
      // Every second message gets another delivery count: no two neighbours share an entry of the journal.
      const all = await take(queue, total);
      const even = all.filter((_, i) => i % 2 === 0);
      await Promise.all(even.map((message) => message.release()));
      const again = await take(queue, even.length);
      await Promise.all([...again, ...all.filter((_, i) => i % 2 === 1)].map((message) => message.release()));
      expect(queue.stats().ready).toBe(total);
      const [greedy, late] = [queue.receive({ prefetch: total }), queue.receive({ prefetch: 1 })];
      const [first, second] = [greedy.next(), late.next()];
      await within(first, "the one who fills the journal");
      const { inFlight } = queue.stats();
      expect(inFlight, "one take fills the journal").toBeLessThan(total);
      await within(second, "the one who looked at a full journal");
      await Promise.all([greedy.return(), late.return()]);
    });
  },
);
