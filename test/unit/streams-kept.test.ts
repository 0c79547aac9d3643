/** What is left of streams and consumers that are over: nothing. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { MessageStream, Queue } from "millrace";
import { describe, expect, test } from "vitest";
import { type Level, levels, openBroker } from "../support/broker.js";
import { until, within } from "../support/waiting.mjs";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Each leaves a stream behind. */
const leavings: Record<string, (queue: Queue<number>) => Promise<MessageStream<number>>> = {
  "never used": async (queue) => queue.receive({ signal: new AbortController().signal }),
  "left without an answer": async (queue) => {
    const stream = queue.receive();
    for await (const message of stream) {
      void message;
      break;
    }
    return stream;
  },
  "left by a throw": async (queue) => {
    const stream = queue.receive();
    const loop = async (): Promise<void> => {
      for await (const message of stream) throw new Error(String(message.body));
    };
    await loop().catch(() => {});
    return stream;
  },
  "left after its answer": async (queue) => {
    const stream = queue.receive();
    for await (const message of stream) {
      void message.ack();
      break;
    }
    return stream;
  },
  "left with earlier messages, whose lease is over then": async (queue) => {
    const stream = queue.receive();
    let seen = 0;
    for await (const message of stream) {
      void message;
      if (++seen === 2) break;
    }
    return stream;
  },
  "ended by its signal": async (queue) => {
    const stop = new AbortController();
    const stream = queue.receive({ signal: stop.signal });
    for await (const message of stream) {
      void message.ack();
      stop.abort();
    }
    return stream;
  },
  closed: async (queue) => {
    const stream = queue.receive();
    const { value } = await stream.next();
    void value?.ack();
    await stream.close();
    return stream;
  },
  "dropped after an answer": async (queue) => {
    const stream = queue.receive();
    const { value } = await stream.next();
    await value?.ack();
    return stream;
  },
  "dropped with what it took ahead": async (queue) => {
    const stream = queue.receive({ prefetch: 3 });
    const { value } = await stream.next();
    await value?.ack();
    return stream;
  },
};

describe.each(levels.slice(0, 2))("of a $level queue", (level: Level) => {
  test.each(Object.entries(leavings))(
    "a stream that was %s is gone, and holds no message",
    async (_, leave) => {
      const broker = await openBroker(level);
      const queue = await broker.queue<number>("tasks", {
        ...level.queue,
        visibilityTimeout: 50,
        maxDeliveries: 0,
      });
      await queue.sendBatch([1, 2, 3]);
      const streams: WeakRef<object>[] = [];
      for (let i = 0; i < 3; i++) {
        streams.push(new WeakRef(await leave(queue)));
        if (queue.stats().ready === 0) await queue.sendBatch([1, 2, 3]);
      }
      await until(() => {
        collect();
        return streams.every((stream) => stream.deref() === undefined) && queue.stats().inFlight === 0;
      }, "the streams are collected and hold nothing");
      expect(queue.stats().inFlight).toBe(0);
    },
  );

  test("a call of next whose stream nobody has any more gets its message", async () => {
    const broker = await openBroker(level);
    const queue = await broker.queue<number>("tasks", level.queue);
    const next = queue.receive().next();
    for (let turn = 0; turn < 5; turn++) {
      collect();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await queue.send(1);
    const { value } = await within(next, "the message");
    expect(value?.body).toBe(1);
    await until(() => {
      collect();
      return queue.stats().inFlight === 1;
    }, "it stays leased to its holder");
    await value?.ack();
    expect(queue.stats().acked).toBe(1);
  });
});
