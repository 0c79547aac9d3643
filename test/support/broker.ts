/** Brokers for tests: the levels of durability side by side, closed and removed when the test ends. */
import {
  Broker,
  type BrokerOptions,
  type Durability,
  type Message,
  type Queue,
  type QueueOptions,
} from "millrace";
import { expect, onTestFinished } from "vitest";
import { makeDirectory, removeDirectory } from "./directory.mjs";
import { within } from "./waiting.mjs";

export interface Level {
  readonly level: string;
  readonly onDisk: boolean;
  readonly receipt: Durability;
  readonly broker: BrokerOptions;
  readonly queue: Omit<QueueOptions, "codec">;
}

const small: BrokerOptions = { segmentBytes: 1 << 20 };

/** The same rules hold at each of these. */
export const levels: readonly Level[] = [
  { level: "memory", onDisk: false, receipt: "memory", broker: {}, queue: {} },
  {
    level: "process",
    onDisk: true,
    receipt: "process",
    broker: { ...small, durability: "process" },
    queue: {},
  },
  { level: "sync", onDisk: true, receipt: "sync", broker: small, queue: {} },
  {
    level: "memory in a directory",
    onDisk: true,
    receipt: "memory",
    broker: small,
    queue: { durability: "memory" },
  },
];

export const durableLevels: readonly Level[] = levels.filter(({ receipt }) => receipt !== "memory");

export function temporaryDirectory(): string {
  const directory = makeDirectory();
  onTestFinished(() => removeDirectory(directory));
  return directory;
}

export async function openBroker(level: Level, options: BrokerOptions = {}): Promise<Broker> {
  const dir = level.onDisk ? { dir: temporaryDirectory() } : {};
  return open({ ...dir, ...level.broker, ...options });
}

/** Broker.open, closed with the test. */
export async function open(options?: BrokerOptions): Promise<Broker> {
  const broker = await Broker.open(options);
  onTestFinished(() => broker.close({ timeout: 0 }).catch(() => {}));
  return broker;
}

export async function openQueue<T = unknown>(level: Level, options: QueueOptions = {}): Promise<Queue<T>> {
  const broker = await openBroker(level);
  // Whoever names another codec knows the type that goes with it.
  return (await broker.queue("tasks", { ...level.queue, ...options } as QueueOptions)) as Queue<T>;
}

/** The next `count` messages, leased to the caller: leaving a loop would give the last one back. */
export async function take<T>(queue: Queue<T>, count: number): Promise<Message<T>[]> {
  const stream = queue.receive({ prefetch: count });
  const messages: Message<T>[] = [];
  while (messages.length < count) {
    const next = await within(stream.next(), `message ${messages.length + 1} of ${count}`);
    if (next.done) throw new Error("the stream ended");
    messages.push(next.value);
  }
  return messages;
}

export async function takeOne<T>(queue: Queue<T>): Promise<Message<T>> {
  const [message] = await take(queue, 1);
  if (message === undefined) throw new Error("no message");
  return message;
}

/** What a test expects of a failure: its code, and the class that goes with the code. */
export function coded(code: string): unknown {
  const name =
    code === "INVALID_ARGUMENT" ? "TypeError" : code === "OUT_OF_RANGE" ? "RangeError" : "MillraceError";
  return expect.objectContaining({ code, name });
}
