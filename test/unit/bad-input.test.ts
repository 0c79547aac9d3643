/**
 * Wrong arguments, table by table: each call is refused with a typed error that has a code, before anything happens,
 * and nothing that the queue holds is lost.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Broker, type Message, type Queue } from "millrace";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { coded, temporaryDirectory } from "../support/broker.js";
import { makeDirectory, removeDirectory } from "../support/directory.mjs";
import { until } from "../support/waiting.mjs";

const poison = (): never => {
  throw new Error("poison");
};
/** Throws at any touch. */
const hostileProxy = new Proxy(
  {},
  { get: poison, ownKeys: poison, has: poison, getOwnPropertyDescriptor: poison },
);
/** Throws when its one property is read. */
const throwing = (key: string): object => Object.defineProperty({}, key, { get: poison, enumerable: true });

const show = (value: unknown): string => {
  if (value === hostileProxy) return "a proxy that throws";
  if (typeof value === "symbol" || typeof value === "number") return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (value instanceof Number || value instanceof String || value instanceof Date)
    return `new ${value.constructor.name}`;
  let text = "an object whose properties throw";
  try {
    text = JSON.stringify(value) ?? "undefined";
  } catch {
    // That is what it is for.
  }
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
};

type Code = "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "MESSAGE_TOO_LARGE" | "IO_ERROR" | "BROKER_NOT_FOUND";
type Case = readonly [name: string, call: (value: unknown) => unknown, value: unknown, code: Code];

const notNumbers = [
  null,
  true,
  "1",
  "",
  Symbol("s"),
  1n,
  [],
  [1],
  {},
  () => 1,
  new Number(1),
  new Date(),
  hostileProxy,
];
const notWhole = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1.5, 2 ** 60];
const notText = [null, 1, true, Symbol("s"), 1n, [], {}, () => "x", new String("x"), hostileProxy];
const notObjects = [null, 1, "options", true, Symbol("s"), 1n, [], ["headers"], () => {}];

let broker: Broker;
let queue: Queue<unknown>;
let parent: string;

/** A delivery for each call that needs one; it goes back afterwards. */
async function onMessage(use: (message: Message<unknown>) => unknown): Promise<void> {
  const stream = queue.receive({ prefetch: 1 });
  const { value: message } = await stream.next();
  await stream.return();
  if (message === undefined) throw new Error("no message");
  try {
    await use(message);
  } finally {
    if (!message.answered) await message.release();
  }
}

const numeric: [name: string, call: (value: unknown) => unknown, min: number, max: number][] = [
  [
    "Broker.open segmentBytes",
    (v) => Broker.open({ dir: join(parent, "s"), segmentBytes: v as number }),
    256 << 10,
    2 ** 30,
  ],
  [
    "Broker.open checkpointBytes",
    (v) => Broker.open({ dir: join(parent, "s"), checkpointBytes: v as number }),
    64 << 10,
    2 ** 40,
  ],
  ["Broker.open maxMessageBytes", (v) => Broker.open({ maxMessageBytes: v as number }), 1, 64 << 20],
  ["queue capacity", (v) => broker.queue("new", { capacity: v as number }), 1, 2 ** 48],
  [
    "queue visibilityTimeout",
    (v) => broker.queue("new", { visibilityTimeout: v as number }),
    1,
    3_162_240_000_000,
  ],
  ["queue maxDeliveries", (v) => broker.queue("new", { maxDeliveries: v as number }), 0, 60_000],
  ["consume concurrency", (v) => queue.consume(() => {}, { concurrency: v as number }), 1, 65_536],
  ["consume prefetch", (v) => queue.consume(() => {}, { prefetch: v as number }), 1, 65_536],
  ["receive prefetch", (v) => queue.receive({ prefetch: v as number }), 1, 65_536],
  ["pool threads", (v) => queue.consumeInWorkers("/agent.mjs", { threads: v as number }), 1, 1024],
  ["pool concurrency", (v) => queue.consumeInWorkers("/agent.mjs", { concurrency: v as number }), 1, 65_536],
  ["pool prefetch", (v) => queue.consumeInWorkers("/agent.mjs", { prefetch: v as number }), 1, 65_536],
  ["peek max", (v) => queue.peek(v as number), 1, 10_000],
  ["broker.close timeout", (v) => broker.close({ timeout: v as number }), 0, 3_162_240_000_000],
  ["nack delay", (v) => onMessage((m) => m.nack({ delay: v as number })), 0, 3_162_240_000_000],
  ["extend ms", (v) => onMessage((m) => m.extend(v as number)), 1, 3_162_240_000_000],
  [
    "attach handle.broker",
    (v) => Broker.attach({ ...broker.handle, broker: v as number }),
    0,
    Number.MAX_SAFE_INTEGER,
  ],
  [
    "attach handle.token",
    (v) => Broker.attach({ ...broker.handle, token: v as number }),
    0,
    Number.MAX_SAFE_INTEGER,
  ],
];

const worded: [name: string, call: (value: unknown) => unknown][] = [
  ["Broker.open dir", (v) => Broker.open({ dir: v as string })],
  ["Broker.open durability", (v) => Broker.open({ dir: join(parent, "s"), durability: v as "sync" })],
  ["queue name", (v) => broker.queue(v as string)],
  ["queue durability", (v) => broker.queue("new", { durability: v as "memory" })],
  ["queue overflow", (v) => broker.queue("new", { overflow: v as "block" })],
  ["queue codec", (v) => broker.queue("new", { codec: v as "json" })],
  ["queue deadLetter", (v) => broker.queue("new", { deadLetter: v as string })],
  ["nack reason", (v) => onMessage((m) => m.nack({ reason: v as string }))],
  ["reject reason", (v) => onMessage((m) => m.reject(v as string))],
  ["pool module", (v) => queue.consumeInWorkers(v as string)],
  ["send header value", (v) => queue.send(1, { headers: { name: v as string } })],
];

const optioned: [name: string, call: (value: unknown) => unknown, keys: string[]][] = [
  ["Broker.open", (v) => Broker.open(v as object), ["dir", "durability", "segmentBytes", "maxMessageBytes"]],
  ["Broker.attach", (v) => Broker.attach(v as Broker["handle"]), ["broker", "token"]],
  ["queue", (v) => broker.queue("new", v as object), ["capacity", "codec", "deadLetter"]],
  ["send", (v) => queue.send(1, v as object), ["headers"]],
  ["send headers", (v) => queue.send(1, { headers: v as Record<string, string> }), ["any"]],
  ["trySend", (v) => queue.trySend(1, v as object), ["headers"]],
  ["sendBatch", (v) => queue.sendBatch([1], v as object), ["headers"]],
  ["receive", (v) => queue.receive(v as object), ["prefetch", "signal"]],
  ["consume", (v) => queue.consume(() => {}, v as object), ["concurrency", "prefetch", "onError"]],
  [
    "consumeInWorkers",
    (v) => queue.consumeInWorkers("/agent.mjs", v as object),
    ["threads", "data", "onError"],
  ],
  ["broker.close", (v) => broker.close(v as object), ["timeout"]],
  ["nack", (v) => onMessage((m) => m.nack(v as object)), ["delay", "reason"]],
];

const others: Case[] = [
  ...notText
    .filter((v) => !Array.isArray(v))
    .map((v): Case => ["sendBatch bodies", (bodies) => queue.sendBatch(bodies as []), v, "INVALID_ARGUMENT"]),
  ...[null, 1, "f", {}, [], Symbol("s"), 1n, true, undefined].map(
    (v): Case => [
      "consume handler",
      (handler) => queue.consume(handler as () => void),
      v,
      "INVALID_ARGUMENT",
    ],
  ),
  ...[null, 1, "f", {}, [], Symbol("s")].map(
    (v): Case => [
      "consume onError",
      (onError) => queue.consume(() => {}, { onError: onError as () => void }),
      v,
      "INVALID_ARGUMENT",
    ],
  ),
  ...[null, 1, "abort", {}, new EventTarget(), { aborted: false }, hostileProxy].map(
    (v): Case => [
      "receive signal",
      (signal) => queue.receive({ signal: signal as AbortSignal }),
      v,
      "INVALID_ARGUMENT",
    ],
  ),
  ...["", "\u0000", "a\u0000b", "a\nb", "\u007f", "n".repeat(256), "é".repeat(128), "\ud800"].map(
    (v): Case => ["queue name", (name) => broker.queue(name as string), v, "OUT_OF_RANGE"],
  ),
  ...["", "a\tb", "n".repeat(256)].map(
    (v): Case => [
      "queue deadLetter",
      (name) => broker.queue("new", { deadLetter: name as string }),
      v,
      "OUT_OF_RANGE",
    ],
  ),
  ...["JSON", "msgpack", "", "toString", "__proto__"].map(
    (v): Case => [
      "queue codec",
      (codec) => broker.queue("new", { codec: codec as "json" }),
      v,
      "INVALID_ARGUMENT",
    ],
  ),
  ...["drop-oldest", "Block", "wait"].map(
    (v): Case => [
      "queue overflow",
      (o) => broker.queue("new", { overflow: o as "block" }),
      v,
      "INVALID_ARGUMENT",
    ],
  ),
  ...["memory", "SYNC", ""].map(
    (v): Case => [
      "Broker.open durability",
      (d) => Broker.open({ dir: join(parent, "s"), durability: d as "sync" }),
      v,
      "INVALID_ARGUMENT",
    ],
  ),
  ...[
    { durability: "sync" },
    { durability: "process" },
    { segmentBytes: 1 << 20 },
    { checkpointBytes: 1 << 20 },
    { path: "x" },
    { Dir: "x" },
  ].map((v): Case => ["Broker.open without dir", (o) => Broker.open(o as object), v, "INVALID_ARGUMENT"]),
  ...[3 << 20, (1 << 20) + 1, (256 << 10) + 4096].map(
    (v): Case => [
      "Broker.open segmentBytes, not a power of two",
      (bytes) => Broker.open({ dir: join(parent, "s"), segmentBytes: bytes as number }),
      v,
      "OUT_OF_RANGE",
    ],
  ),
  [
    "Broker.open maxMessageBytes beyond an eighth of a segment",
    (v) => Broker.open({ dir: join(parent, "s"), segmentBytes: 256 << 10, maxMessageBytes: v as number }),
    32 << 10,
    "OUT_OF_RANGE",
  ],
  [
    "consume prefetch below concurrency",
    (v) => queue.consume(() => {}, v as object),
    { concurrency: 5, prefetch: 4 },
    "OUT_OF_RANGE",
  ],
  ...[
    "relative.mjs",
    "./agent.mjs",
    new URL("http://x/agent.mjs"),
    "",
    new URL("data:text/javascript,0"),
  ].map((v): Case => ["pool module", (m) => queue.consumeInWorkers(m as string), v, "INVALID_ARGUMENT"]),
  [
    "pool data that cannot be cloned",
    (v) => queue.consumeInWorkers("/agent.mjs", { data: v }),
    () => {},
    "INVALID_ARGUMENT",
  ],
  [
    "pool data that cannot be cloned",
    (v) => queue.consumeInWorkers("/agent.mjs", { data: v }),
    Symbol("s"),
    "INVALID_ARGUMENT",
  ],
  ...[null, 1, "x", [], { maxOldGenerationSizeMb: "many" }, { heap: 1 }].map(
    (v): Case => [
      "pool resourceLimits",
      (limits) => queue.consumeInWorkers("/agent.mjs", { resourceLimits: limits as object }),
      v,
      "INVALID_ARGUMENT",
    ],
  ),
  ...[Number.NaN, 0, -1, Number.POSITIVE_INFINITY].map(
    (v): Case => [
      "pool resourceLimits.stackSizeMb",
      (mb) => queue.consumeInWorkers("/agent.mjs", { resourceLimits: { stackSizeMb: mb as number } }),
      v,
      "OUT_OF_RANGE",
    ],
  ),
  ["a message over the limit", (v) => queue.send(v), "x".repeat(2000), "MESSAGE_TOO_LARGE"],
  [
    "a message over the limit, in a batch",
    (v) => queue.sendBatch([1, v]),
    "x".repeat(2000),
    "MESSAGE_TOO_LARGE",
  ],
  ["dir below a file", (v) => Broker.open({ dir: join(v as string, "below") }), "file", "IO_ERROR"],
  ["dir that is a file", (v) => Broker.open({ dir: v as string }), "file", "IO_ERROR"],
  ["dir in /proc", (v) => Broker.open({ dir: v as string }), "/proc/millrace", "IO_ERROR"],
  ["dir in /sys", (v) => Broker.open({ dir: v as string }), "/sys/millrace", "IO_ERROR"],
  [
    "dir with a name too long",
    (v) => Broker.open({ dir: v as string }),
    `/tmp/${"n".repeat(300)}`,
    "IO_ERROR",
  ],
  ["dir with a zero byte", (v) => Broker.open({ dir: v as string }), "/tmp/a\u0000b", "OUT_OF_RANGE"],
  ["dir that is empty", (v) => Broker.open({ dir: v as string }), "", "OUT_OF_RANGE"],
];

const cases: Case[] = [
  ...numeric.flatMap(([name, call, min, max]): Case[] => [
    ...notNumbers.map((v): Case => [name, call, v, "INVALID_ARGUMENT"]),
    ...[...notWhole, min - 1, max + 1].map((v): Case => [name, call, v, "OUT_OF_RANGE"]),
  ]),
  ...worded.flatMap(([name, call]) => notText.map((v): Case => [name, call, v, "INVALID_ARGUMENT"])),
  ...optioned.flatMap(([name, call, keys]): Case[] => [
    ...notObjects.map((v): Case => [name, call, v, "INVALID_ARGUMENT"]),
    [name, call, { noSuchOption: 1 }, "INVALID_ARGUMENT"],
    [name, call, hostileProxy, "INVALID_ARGUMENT"],
    ...keys.map((key): Case => [`${name}, ${key} throws when read`, call, throwing(key), "INVALID_ARGUMENT"]),
  ]),
  ...others,
];

beforeAll(async () => {
  parent = makeDirectory();
  writeFileSync(join(parent, "file"), "not a directory");
  broker = await Broker.open({ dir: join(parent, "store"), segmentBytes: 1 << 20, maxMessageBytes: 1000 });
  queue = await broker.queue<unknown>("tasks", { maxDeliveries: 0 });
  await queue.sendBatch(["one", "two", "three"]);
});

afterAll(async () => {
  await broker.close({ timeout: 0 });
  removeDirectory(parent);
});

describe("wrong arguments", () => {
  test("are many", () => expect(cases.length).toBeGreaterThan(450));

  test.each(cases.map((one) => [`${one[0]}: ${show(one[2])}`, one[3], one] as const))(
    "%s is refused with %s",
    async (_, code, [, call, given]) => {
      const value = given === "file" ? join(parent, "file") : given;
      // A wrong reason is worth nothing if the call did something first: see the last test.
      await expect((async () => call(value))()).rejects.toEqual(coded(code));
    },
  );

  test("have lost nothing and left nothing behind", async () => {
    await until(() => queue.stats().inFlight === 0, "what was taken went back");
    expect(queue.peek().map(({ body }) => body)).toEqual(["one", "two", "three"]);
    expect(queue.stats()).toMatchObject({ ready: 3, sent: 3, acked: 0, deadLettered: 0 });
    expect(broker.closed).toBe(false);
    const { readdirSync } = await import("node:fs");
    expect(readdirSync(parent).toSorted()).toEqual(["file", "store"]);
    await broker.close();
    const again = await Broker.open({ dir: join(parent, "store") });
    expect((await again.queue("tasks")).peek().map(({ body }) => body)).toEqual(["one", "two", "three"]);
    expect(again.stats().queues).toBe(1);
    await again.close();
  });
});

test("options are read from own properties only, and undefined is the default", async () => {
  const inherited = Object.create({ dir: "/proc/never", durability: "wrong" });
  const memory = await Broker.open(inherited);
  expect(memory.durability).toBe("memory");
  const tasks = await memory.queue<number>("q", Object.create({ capacity: -1 }));
  await tasks.send(1, { headers: undefined } as object);
  expect(tasks.stats().ready).toBe(1);
  await memory.close();
});

test("an options object is read once", async () => {
  const dir = temporaryDirectory();
  let reads = 0;
  const options = {
    get dir() {
      reads++;
      return reads === 1 ? dir : "/proc/never";
    },
    segmentBytes: 1 << 20,
  };
  const store = await Broker.open(options);
  expect(reads).toBe(1);
  await store.close();
});
