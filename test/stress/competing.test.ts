/** Many threads on one queue: everything is delivered, and nothing twice. */
import { Worker } from "node:worker_threads";
import type { BrokerOptions } from "millrace";
import { describe, expect, test } from "vitest";
import { open, temporaryDirectory } from "../support/broker.js";
import { until } from "../support/waiting.mjs";

const fixture = (name: string): URL => new URL(`./fixtures/${name}.mjs`, import.meta.url);

interface Contest {
  readonly name: string;
  readonly messages: number;
  readonly onDisk: boolean;
  readonly options: BrokerOptions;
}

const contests: Contest[] = [
  { name: "memory", messages: 1_000_000, onDisk: false, options: {} },
  {
    name: "process",
    messages: 200_000,
    onDisk: true,
    options: { durability: "process", segmentBytes: 4 << 20 },
  },
  { name: "sync", messages: 200_000, onDisk: true, options: { segmentBytes: 4 << 20 } },
];

describe.each(contests)("competing consumers of a $name queue", ({ messages, onDisk, options }) => {
  test(`receive each of ${messages} messages once, from two producers in four threads`, {
    timeout: 300_000,
  }, async () => {
    const broker = await open(onDisk ? { ...options, dir: temporaryDirectory() } : options);
    const queue = await broker.queue<Uint8Array>("tasks", {
      codec: "bytes",
      capacity: 50_000,
      maxDeliveries: 0,
    });
    const seen = new Uint8Array(new SharedArrayBuffer(messages));
    const from = performance.now();
    const start = (data: object): Worker =>
      new Worker(fixture("contest"), { workerData: { handle: broker.handle, ...data } });
    const consumers = [1, 2, 3, 4].map(() => start({ role: "consumer", seen }));
    const producers = [0, 1].map((part) => start({ role: "producer", from: part, step: 2, to: messages }));
    const failures: Error[] = [];
    for (const worker of [...consumers, ...producers])
      worker.on("error", (error: Error) => failures.push(error));
    await Promise.all(producers.map((worker) => new Promise((resolve) => worker.once("exit", resolve))));
    await until(
      () => failures.length > 0 || (queue.stats().acked >= messages && queue.stats().settling === 0),
      "all are acked",
      240_000,
    );
    const seconds = (performance.now() - from) / 1000;
    expect(failures).toEqual([]);
    await Promise.all(consumers.map((worker) => worker.terminate()));
    let wrong = 0;
    for (const count of seen) if (count !== 1) wrong++;
    expect(wrong, "messages that were not delivered exactly once").toBe(0);
    expect(queue.stats()).toMatchObject({
      sent: messages,
      acked: messages,
      ready: 0,
      inFlight: 0,
      redelivered: 0,
      bytes: 0,
    });
    console.log(`${messages} messages in ${seconds.toFixed(1)} s: ${Math.round(messages / seconds)}/s`);
  });
});
