/** How long deliveries may keep the event loop to themselves, whatever consumes and however it goes on. */
import { Broker, type Queue, type QueueOptions } from "millrace";
import { expect, onTestFinished, test } from "vitest";
import { temporaryDirectory } from "../support/broker.js";
import { Random, seedOfRun } from "../support/random.mjs";
import { until } from "../support/waiting.mjs";

/** Deliveries have 10 ms; the rest is for a busy machine. Without a bound each of these works for half a second and more. */
const WORK_MS_MAX = 200;
const WORK_MS_TOTAL = 700;

/** Keeps the thread busy, as a handler that computes does. */
function work(ms: number): number {
  const end = performance.now() + ms;
  while (performance.now() < end);
  return ms;
}

type Job = { n: number };
/** Consumes until the queue is empty: `handle` works. */
const ways: Record<string, (queue: Queue<Job>, handle: () => void, random: Random) => void> = {
  "a handler": (queue, handle, random) => {
    queue.consume(handle, { prefetch: random.integer(1, 100) });
  },
  "an async handler": (queue, handle, random) => {
    queue.consume(async () => handle(), {
      concurrency: random.integer(1, 5),
      prefetch: random.integer(5, 100),
    });
  },
  "a handler that goes on in microtasks": (queue, handle, random) => {
    const hops = random.integer(0, 9);
    queue.consume(async () => {
      for (let i = 0; i < hops; i++) await undefined;
      handle();
    });
  },
  "a handler that awaits its ack": (queue, handle, random) => {
    queue.consume(
      async (message) => {
        handle();
        await message.ack();
      },
      { concurrency: random.integer(1, 5) },
    );
  },
  "a handler that throws": (queue, handle) => {
    queue.consume((message) => {
      if (message.deliveryCount > 1) return;
      handle();
      throw new Error("once");
    });
  },
  "a loop": async (queue, handle, random) => {
    for await (const message of queue.receive({ prefetch: random.integer(1, 100) })) {
      handle();
      void message.ack();
    }
  },
  "a loop that awaits its acks": async (queue, handle, random) => {
    for await (const message of queue.receive({ prefetch: random.integer(1, 100) })) {
      handle();
      await message.ack();
    }
  },
  "calls of next": async (queue, handle) => {
    const stream = queue.receive();
    const one = async (): Promise<void> => {
      for (let next = await stream.next(); !next.done; next = await stream.next()) {
        handle();
        void next.value.ack();
      }
    };
    await Promise.all([one(), one(), one()]);
  },
  "many consumers": (queue, handle) => {
    for (let i = 0; i < 50; i++) queue.consume(handle, { prefetch: 2 });
  },
};

async function openQueue(options: QueueOptions): Promise<Queue<Job>> {
  const broker = await Broker.open();
  onTestFinished(() => broker.close({ timeout: 0 }));
  return (await broker.queue("jobs", options)) as Queue<Job>;
}

/** The longest work between two turns of the event loop while `busy` is true. */
async function longestWork(worked: () => number, busy: () => boolean): Promise<number> {
  let longest = 0;
  let before = worked();
  while (busy()) {
    await new Promise((resolve) => setImmediate(resolve));
    longest = Math.max(longest, worked() - before);
    before = worked();
  }
  return longest;
}

test.each(Object.entries(ways))("%s gives the event loop its turn", async (_, consume) => {
  const seed = seedOfRun();
  const random = new Random(seed);
  const queue = await openQueue({ maxDeliveries: 0 });
  // Some work long, most do not: whoever guesses from the last ones is wrong.
  const jobs: number[] = [];
  for (let total = 0; total < WORK_MS_TOTAL; total += jobs.at(-1) ?? 0) {
    jobs.push(random.chance(0.25) ? random.integer(1, 8) : 0);
  }
  await queue.sendBatch(jobs.map((n) => ({ n })));
  let worked = 0;
  let done = 0;
  consume(
    queue,
    () => {
      worked += work(jobs[done++] ?? 0);
    },
    random,
  );
  const longest = await longestWork(
    () => worked,
    () => done < jobs.length,
  );
  expect(longest, `seed ${seed}`).toBeLessThan(WORK_MS_MAX);
  await until(() => queue.stats().acked === jobs.length, "all acked");
});

test.each([
  ["json", { n: 0 }],
  ["text", "0"],
  ["bytes", new Uint8Array(1)],
] as const)("a handler that sends to its own queue (%s) leaves the loop its turns", async (codec, body) => {
  const queue = (await openQueue({ codec })) as Queue<unknown>;
  let worked = 0;
  queue.consume(async () => {
    worked += work(1);
    if (worked < WORK_MS_TOTAL) await queue.send(body);
  });
  await queue.send(body);
  const longest = await longestWork(
    () => worked,
    () => worked < WORK_MS_TOTAL,
  );
  expect(longest).toBeLessThan(WORK_MS_MAX);
});

test("two consumers share the time: none waits until the other's backlog is empty", async () => {
  const broker = await Broker.open();
  onTestFinished(() => broker.close({ timeout: 0 }));
  const [long, short] = [await broker.queue<number>("long"), await broker.queue<number>("short")];
  await long.sendBatch(Array.from({ length: 1000 }, (_, n) => n));
  await short.sendBatch([0, 1, 2]);
  long.consume(() => void work(2), { prefetch: 1000 });
  short.consume(() => {});
  await until(() => short.stats().acked === 3, "the short queue is empty");
  expect(long.stats().acked).toBeLessThan(500);
});

const backlog = 20_000;
test.each<[string, (queue: Queue<Job>, handle: () => void) => unknown]>([
  ["a handler", (queue, handle) => queue.consume(handle, { prefetch: 1024 })],
  [
    "a loop",
    async (queue, handle) => {
      for await (const message of queue.receive({ prefetch: 1024 })) {
        handle();
        void message.ack();
      }
    },
  ],
])("who awaits a send need not wait for the backlog of %s in the same thread", async (_, consume) => {
  const broker = await Broker.open({ dir: temporaryDirectory() });
  onTestFinished(() => broker.close({ timeout: 0 }));
  const queue = await broker.queue<Job>("jobs");
  await queue.sendBatch(Array.from({ length: backlog }, (_, n) => ({ n })));
  let handled = 0;
  const awaitOneByOne = async (): Promise<void> => {
    const other = await broker.queue<Job>("other");
    while (handled < backlog) await other.send({ n: 0 });
  };
  const sending = awaitOneByOne();
  consume(queue, () => {
    handled++;
  });
  const longest = await longestWork(
    () => handled,
    () => handled < backlog,
  );
  // 512 at once, after what was left of the 512 before; and twice in a turn that news came in.
  expect(longest).toBeLessThanOrEqual(2 * 1024);
  await sending;
});
