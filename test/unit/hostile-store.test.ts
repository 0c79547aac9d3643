/** Directories whose files are not what they were: a typed error or no harm, never wrong data, never a crash. */

import { AsyncLocalStorage } from "node:async_hooks";
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Broker, type Queue } from "millrace";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { coded, open, take, temporaryDirectory } from "../support/broker.js";
import { runNode } from "../support/child.mjs";
import { makeDirectory, removeDirectory } from "../support/directory.mjs";
import { Random, seedOfRun } from "../support/random.mjs";
import { until } from "../support/waiting.mjs";

const examine = new URL("./fixtures/examine.mjs", import.meta.url);
const refusals = ["CORRUPT", "INCOMPATIBLE", "IO_ERROR"];
const seed = seedOfRun();
const small = { segmentBytes: 256 << 10, checkpointBytes: 64 << 10 };

let parent: string;
let store: string;
let foreign: string;

/** A store with acked, waiting and dead messages, a checkpoint and a few segments. */
async function fill(dir: string, mark: string): Promise<void> {
  const broker = await Broker.open({ dir, ...small });
  const queue = await broker.queue<{ n: number; mark: string; pad: string }>("tasks");
  const pad = "p".repeat(700);
  for (let n = 0; n < 900; n++) {
    void queue.send({ n, mark, pad });
    if (n % 100 === 99) await queue.send({ n: n + 1_000_000, mark, pad });
  }
  let seen = 0;
  for await (const message of queue.receive({ prefetch: 50 })) {
    if (message.body.n % 9 === 5) await message.reject("dead");
    else await message.ack();
    if (++seen === 700) break;
  }
  await broker.close();
}

interface Found {
  code?: string;
  detail?: string;
  bodies?: { n: number; mark: string }[];
  dead?: { n: number; mark: string }[];
}

/** Opens them in a process of its own and reads everything in them. */
async function lookAll(dirs: string[]): Promise<Found[]> {
  const ended = await runNode(examine, { args: dirs, deadlineMs: 50_000 });
  const found = ended.stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Found);
  expect(ended, `crashed or hung at ${dirs[found.length]}\n${ended.stderr}`).toMatchObject({
    code: 0,
    signal: null,
  });
  return found;
}

async function look(dir: string): Promise<Found> {
  const [found] = await lookAll([dir]);
  if (found === undefined) throw new Error("nothing was printed");
  return found;
}

let whole: Found;

beforeAll(async () => {
  parent = makeDirectory();
  store = join(parent, "store");
  foreign = join(parent, "foreign");
  await fill(store, "ours");
  await fill(foreign, "theirs");
  const copy = join(parent, "copy");
  cpSync(store, copy, { recursive: true });
  whole = await look(copy);
});

afterAll(() => removeDirectory(parent));

const damages: Record<string, (path: string, name: string) => void> = {
  "replaced by garbage": (path) =>
    writeFileSync(path, new Random(seed).bytes(Math.min(statSync(path).size, 1 << 18))),
  "replaced by zeros": (path) => writeFileSync(path, Buffer.alloc(statSync(path).size)),
  "replaced by ones": (path) => writeFileSync(path, Buffer.alloc(statSync(path).size, 0xff)),
  emptied: (path) => writeFileSync(path, ""),
  "cut to one byte": (path) => truncateSync(path, Math.min(1, statSync(path).size)),
  "cut in half": (path) => truncateSync(path, statSync(path).size >> 1),
  "cut by its last page": (path) => truncateSync(path, Math.max(0, statSync(path).size - 4096)),
  "grown by garbage": (path) => {
    writeFileSync(path, Buffer.concat([readFileSync(path), new Random(seed).bytes(5000)]));
  },
  "with its first page overwritten": (path) => {
    const bytes = readFileSync(path);
    bytes.set(new Random(seed).bytes(Math.min(4096, bytes.length)));
    writeFileSync(path, bytes);
  },
  "with two pages swapped": (path) => {
    const bytes = readFileSync(path);
    if (bytes.length < 12_288) return;
    const page = Buffer.from(bytes.subarray(4096, 8192));
    bytes.copyWithin(4096, 8192, 12_288);
    bytes.set(page, 8192);
    writeFileSync(path, bytes);
  },
  "taken from another store": (path, name) => {
    const theirs = join(foreign, name);
    writeFileSync(path, readdirSync(foreign).includes(name) ? readFileSync(theirs) : "");
  },
  removed: (path) => rmSync(path),
  "replaced by a directory": (path) => {
    rmSync(path);
    mkdirSync(path);
  },
  "replaced by a symbolic link to itself elsewhere": (path, name) => {
    rmSync(path);
    symlinkSync(join(foreign, name), path);
  },
};

function expectHarmless(found: Found, what: string): void {
  if (found.code !== undefined) {
    expect(refusals, `${what}: ${found.code} ${found.detail}`).toContain(found.code);
    expect(found.detail, what).not.toBe("");
    return;
  }
  // P3: nothing invented, nothing altered. P7: what opens without an error has lost nothing.
  expect(found.bodies, what).toEqual(whole.bodies);
  expect(found.dead, what).toEqual(whole.dead);
}

describe("a store", () => {
  test("is whole before it is damaged", () => {
    expect(whole.bodies).toHaveLength(209);
    expect(whole.dead?.length).toBeGreaterThan(50);
    expect(whole.bodies?.every(({ mark }) => mark === "ours")).toBe(true);
  });

  test.each(Object.keys(damages))("with any one of its files %s is refused or harmless", async (how) => {
    const foreignBefore = readdirSync(foreign).map((file) => statSync(join(foreign, file)).mtimeMs);
    const names = readdirSync(store);
    const dirs = names.map((name) => {
      const dir = join(parent, `damaged-${name}`);
      cpSync(store, dir, { recursive: true });
      damages[how]?.(join(dir, name), name);
      return dir;
    });
    const found = await lookAll(dirs);
    expect(found).toHaveLength(names.length);
    for (const [i, one] of found.entries()) expectHarmless(one, `${names[i]} ${how}, seed ${seed}`);
    expect(readdirSync(foreign).map((file) => statSync(join(foreign, file)).mtimeMs)).toEqual(foreignBefore);
    for (const dir of dirs) rmSync(dir, { recursive: true });
  });

  test("refused once is not changed by the attempt: mended, it opens", async () => {
    const names = readdirSync(store);
    const dirs = names.map((name) => join(parent, `mended-${name}`));
    for (const [i, dir] of dirs.entries()) {
      cpSync(store, dir, { recursive: true });
      writeFileSync(join(dir, names[i] as string), new Random(seed).bytes(1 << 16));
    }
    const refused = (await lookAll(dirs)).map(({ code }) => code !== undefined);
    expect(refused.filter(Boolean).length, "some were refused").toBeGreaterThan(0);
    const mended = dirs.filter((_, i) => refused[i]);
    for (const dir of mended) {
      const name = dir.slice(join(parent, "mended-").length);
      writeFileSync(join(dir, name), readFileSync(join(store, name)));
    }
    for (const found of await lookAll(mended)) {
      expect(found.code, `${found.detail}, seed ${seed}`).toBeUndefined();
      expectHarmless(found, `mended, seed ${seed}`);
    }
  });

  test("does not mind files that are not its own", async () => {
    const dir = join(parent, "guests");
    cpSync(store, dir, { recursive: true });
    writeFileSync(join(dir, "README"), "hello");
    writeFileSync(join(dir, ".DS_Store"), new Random(seed).bytes(100));
    mkdirSync(join(dir, "subdirectory"));
    expectHarmless(await look(dir), "guests");
    expect(readdirSync(dir)).toEqual(expect.arrayContaining(["README", ".DS_Store", "subdirectory"]));
  });

  test("with bytes flipped anywhere is refused or harmless", async () => {
    const rounds = 150;
    const ended = await runNode(new URL("./fixtures/flip.mjs", import.meta.url), {
      args: [store, join(parent, "flipped"), String(rounds), String(seed)],
      deadlineMs: 120_000,
    });
    expect(ended.signal, `crashed or hung, seed ${seed}\n${ended.stdout}${ended.stderr}`).toBeNull();
    expect(ended.code, `seed ${seed}\n${ended.stdout}${ended.stderr}`).toBe(0);
    expect(ended.stdout).toMatch(/^150 passed, 0 failed$/m);
  }, 150_000);
});

describe("a message that is damaged on disk under an open broker", () => {
  /** A store whose third and fourth of nine messages do not match their checksums. */
  async function damaged(): Promise<{ broker: Broker; queue: Queue<string> }> {
    const dir = temporaryDirectory();
    const broker = await open({ dir, ...small });
    const queue = await broker.queue<string>("tasks", { codec: "text" });
    for (let n = 1; n <= 9; n++) await queue.send(`body number ${n}`);
    for (const name of readdirSync(dir)) {
      const bytes = readFileSync(join(dir, name));
      for (const n of [3, 4]) {
        const at = bytes.indexOf(`body number ${n}`);
        if (at < 0) continue;
        const file = openSync(join(dir, name), "r+");
        writeSync(file, "B", at);
        closeSync(file);
      }
    }
    return { broker, queue };
  }

  test.each([1, 2, 9])(
    "is told to onError and holds back nobody, with a prefetch of %s",
    async (prefetch) => {
      const { queue } = await damaged();
      const errors: Error[] = [];
      const bodies: string[] = [];
      const consumer = queue.consume(({ body }) => void bodies.push(body), {
        prefetch,
        onError: (error) => errors.push(error),
      });
      await until(() => queue.stats().acked === 7, "the others are delivered");
      expect(bodies).toEqual([1, 2, 5, 6, 7, 8, 9].map((n) => `body number ${n}`));
      expect(errors).toHaveLength(2);
      for (const [i, error] of errors.entries()) {
        expect(error).toEqual(coded("CORRUPT"));
        expect(error.message).toMatch(new RegExp(`message ${i + 3} of queue "tasks" at segment-\\d{5}:\\d+`));
      }
      // Neither delivered nor lost, and in nobody's way.
      await until(() => queue.stats().settling === 2, "all but these two are settled");
      expect(queue.stats()).toMatchObject({ corrupt: 2, inFlight: 0, ready: 0 });
      await consumer.close();
    },
  );

  test("ends an iterator with CORRUPT, behind the sound ones before it; the next one goes on", async () => {
    const { queue } = await damaged();
    const told: (string | undefined)[] = [];
    const consume = async () => {
      for await (const message of queue.receive({ prefetch: 4 })) {
        told.push(message.body);
        await message.ack();
        if (message.body === "body number 9") return;
      }
    };
    for (const _ of [3, 4]) {
      await expect(consume()).rejects.toEqual(coded("CORRUPT"));
      told.push(undefined);
    }
    await consume();
    expect(told).toEqual([1, 2, 0, 0, 5, 6, 7, 8, 9].map((n) => (n === 0 ? undefined : `body number ${n}`)));
  });

  test("is told in the async context in which the listener was registered", async () => {
    const { queue } = await damaged();
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const onError = (): void => {
      seen.push(storage.getStore());
      // Not seen by the next call.
      storage.enterWith("entered");
    };
    queue.pause();
    const consumer = storage.run("owner", () => queue.consume(() => {}, { prefetch: 2, onError }));
    storage.run("somebody else", () => queue.resume());
    await storage.run("sender", () => queue.send("one more"));
    await until(() => seen.length === 2, "both are told");
    expect(seen).toEqual(["owner", "owner"]);
    await consumer.close();
  });

  test("is left out by peek", async () => {
    const { queue } = await damaged();
    expect(queue.peek().map(({ body }) => body)).toEqual(
      [1, 2, 5, 6, 7, 8, 9].map((n) => `body number ${n}`),
    );
    await take(queue, 2).then((messages) => Promise.all(messages.map((message) => message.ack())));
    expect(() => queue.peek(1)).toThrow(expect.objectContaining({ code: "CORRUPT" }));
  });

  test("is not lost in silence: an onError that throws is an uncaught exception", async () => {
    const { queue } = await damaged();
    const uncaught: unknown[] = [];
    const before = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => uncaught.push(error));
    try {
      const thrown = new Error("from onError");
      const consumer = queue.consume(() => {}, {
        onError: () => {
          throw thrown;
        },
      });
      await until(() => queue.stats().acked === 7, "the others are delivered");
      await until(() => uncaught.length === 2, "an exception for each of the two");
      expect(uncaught).toEqual([thrown, thrown]);
      await consumer.close();
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of before) process.on("uncaughtException", listener);
    }
  });
});

describe("a directory", () => {
  test("that holds something else is refused and left alone", async () => {
    const dir = join(parent, "else");
    mkdirSync(dir);
    writeFileSync(join(dir, "photo.jpg"), new Random(seed).bytes(1000));
    const before = readFileSync(join(dir, "photo.jpg"));
    const found = await look(dir);
    if (found.code !== undefined) expect(refusals).toContain(found.code);
    expect(readFileSync(join(dir, "photo.jpg")).equals(before)).toBe(true);
  });

  test("that is a symbolic link is refused, or is the store it points to", async () => {
    const link = join(parent, "link");
    symlinkSync(store, link);
    expectHarmless(await look(link), "link");
    rmSync(link);
  });
});
