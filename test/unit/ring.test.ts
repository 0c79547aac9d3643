import { execFile } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { MillraceError, Ring } from "millrace";
import { afterEach, describe, expect, it } from "vitest";

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (value: string) => new TextEncoder().encode(value);
const small = () => Ring.create({ slots: 4, slotBytes: 8 });
const codeOf = (call: () => unknown): string | undefined => {
  try {
    call();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return undefined;
};

const workers: Worker[] = [];
function start(role: string, buffer: SharedArrayBuffer, more: object = {}): Worker {
  const worker = new Worker(new URL("./fixtures/ring-worker.mjs", import.meta.url), {
    workerData: { role, buffer, ...more },
  });
  workers.push(worker);
  return worker;
}
const said = async (worker: Worker) => (await once(worker, "message"))[0];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

describe("tryPush and tryPop", () => {
  it("return messages in order, intact, with every length", () => {
    const ring = Ring.create({ slots: 8, slotBytes: 5 });
    for (const word of ["", "a", "fives"]) expect(ring.tryPush(text(word))).toBe(true);
    expect(ring.length).toBe(3);
    const into = new Uint8Array(5);
    expect(ring.tryPop()).toEqual(text(""));
    expect(ring.tryPop(into)).toBe(1);
    expect(ring.tryPop(into)).toBe(5);
    expect(into).toEqual(text("fives"));
    expect(ring.tryPop(into)).toBe(-1);
    expect(ring.tryPop()).toBeUndefined();
  });

  it("answer false when every slot is taken", () => {
    const ring = small();
    for (let i = 0; i < 4; i++) expect(ring.tryPush(bytes(i))).toBe(true);
    expect(ring.tryPush(bytes(4))).toBe(false);
    ring.tryPop();
    expect(ring.tryPush(bytes(4))).toBe(true);
  });

  it("copy views, Buffers and views of shared memory", () => {
    const ring = small();
    const shared = new Uint8Array(new SharedArrayBuffer(16), 3, 2).fill(9);
    for (const message of [Uint8Array.of(1, 2, 3).subarray(1), Buffer.from("hi"), shared]) {
      ring.tryPush(message);
      expect(ring.tryPop()).toEqual(new Uint8Array(message));
    }
  });

  it("leave a message that does not fit in the ring", () => {
    const ring = small();
    ring.tryPush(bytes(1, 2, 3));
    expect(codeOf(() => ring.tryPop(new Uint8Array(2)))).toBe("OUT_OF_RANGE");
    expect(codeOf(() => ring.tryPop(new Uint8Array(0)))).toBe("OUT_OF_RANGE");
    expect(ring.tryPop(new Uint8Array(3))).toBe(3);
  });

  it("give messages memory of their own", () => {
    const ring = small();
    ring.tryPush(bytes(1));
    const first = ring.tryPop();
    ring.tryPush(bytes(2));
    ring.tryPop();
    expect(first).toEqual(bytes(1));
    expect(first?.buffer.byteLength).toBe(1);
  });
});

describe("batches", () => {
  it("accept the prefix for which there is room", () => {
    const ring = small();
    const list = [0, 1, 2, 3, 4, 5].map((value) => bytes(value, value));
    expect(ring.tryPushBatch(list)).toBe(4);
    expect(ring.tryPushBatch(list)).toBe(0);
    expect(ring.tryPopBatch(3)).toEqual(list.slice(0, 3));
    expect(ring.tryPopBatch(100)).toEqual(list.slice(3, 4));
    expect(ring.tryPopBatch(100)).toEqual([]);
    expect(ring.tryPushBatch([])).toBe(0);
    expect(ring.tryPopBatch(0)).toEqual([]);
  });

  it("are longer than one claim and than the staging area", () => {
    const ring = Ring.create({ slots: 4096, slotBytes: 100 });
    const list = Array.from({ length: 4000 }, (_, i) => new Uint8Array(i % 101).fill(i));
    expect(ring.tryPushBatch(list)).toBe(4000);
    expect(ring.tryPopBatch(5000)).toEqual(list);
  });

  it("travel packed", () => {
    const ring = small();
    expect(ring.tryPushBatch(text("abbccc"), Uint32Array.of(1, 2, 3))).toBe(3);
    const into = new Uint8Array(5);
    const lengths = new Uint32Array(8);
    expect(ring.tryPopBatch(into, lengths)).toBe(2);
    expect([...lengths.subarray(0, 2)]).toEqual([1, 2]);
    expect(into).toEqual(bytes(97, 98, 98, 0, 0));
    expect(ring.tryPopBatch(into, lengths)).toBe(1);
    expect(ring.tryPopBatch(into, lengths)).toBe(0);
  });
});

describe("wrong arguments have codes", () => {
  const ring = Ring.create({ slots: 4, slotBytes: 8 });
  const never = undefined as never;
  it.each<[string, () => unknown, string]>([
    ["no options", () => Ring.create(never), "INVALID_ARGUMENT"],
    ["null options", () => Ring.create(null as never), "INVALID_ARGUMENT"],
    ["slots of no number", () => Ring.create({ slots: "4" as never, slotBytes: 8 }), "INVALID_ARGUMENT"],
    ["slots 0", () => Ring.create({ slots: 0, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slots 1", () => Ring.create({ slots: 1, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slots 6", () => Ring.create({ slots: 6, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slots -4", () => Ring.create({ slots: -4, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slots 4.5", () => Ring.create({ slots: 4.5, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slots NaN", () => Ring.create({ slots: Number.NaN, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slots 2^25", () => Ring.create({ slots: 2 ** 25, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slots 2^32 + 4", () => Ring.create({ slots: 2 ** 32 + 4, slotBytes: 8 }), "OUT_OF_RANGE"],
    ["slotBytes 0", () => Ring.create({ slots: 4, slotBytes: 0 }), "OUT_OF_RANGE"],
    ["slotBytes 65,537", () => Ring.create({ slots: 4, slotBytes: 65_537 }), "OUT_OF_RANGE"],
    ["more than 1 GiB", () => Ring.create({ slots: 2 ** 15, slotBytes: 65_536 }), "OUT_OF_RANGE"],
    ["attach to nothing", () => Ring.attach(never), "INVALID_ARGUMENT"],
    ["attach to an ArrayBuffer", () => Ring.attach(new ArrayBuffer(4096) as never), "INVALID_ARGUMENT"],
    ["attach to zeros", () => Ring.attach(new SharedArrayBuffer(4096)), "INCOMPATIBLE"],
    ["attach to one byte", () => Ring.attach(new SharedArrayBuffer(1)), "INCOMPATIBLE"],
    ["attach to no bytes", () => Ring.attach(new SharedArrayBuffer(0)), "INCOMPATIBLE"],
    ["push of a string", () => ring.tryPush("x" as never), "INVALID_ARGUMENT"],
    ["push of nothing", () => ring.tryPush(never), "INVALID_ARGUMENT"],
    ["push of another array", () => ring.tryPush(new Uint16Array(1) as never), "INVALID_ARGUMENT"],
    ["push of 9 bytes in 8", () => ring.tryPush(new Uint8Array(9)), "MESSAGE_TOO_LARGE"],
    ["pop into a string", () => ring.tryPop("x" as never), "INVALID_ARGUMENT"],
    ["batch of no array", () => ring.tryPushBatch(5 as never), "INVALID_ARGUMENT"],
    ["batch of strings", () => ring.tryPushBatch(["x" as never]), "INVALID_ARGUMENT"],
    ["batch with a large one", () => ring.tryPushBatch([bytes(1), new Uint8Array(9)]), "MESSAGE_TOO_LARGE"],
    ["packed large", () => ring.tryPushBatch(new Uint8Array(9), Uint32Array.of(9)), "MESSAGE_TOO_LARGE"],
    ["packed short", () => ring.tryPushBatch(new Uint8Array(3), Uint32Array.of(2, 2)), "OUT_OF_RANGE"],
    ["packed, wrong lengths", () => ring.tryPushBatch(bytes(1), [1] as never), "INVALID_ARGUMENT"],
    ["batch pop of -1", () => ring.tryPopBatch(-1), "OUT_OF_RANGE"],
    ["batch pop of a string", () => ring.tryPopBatch("1" as never), "INVALID_ARGUMENT"],
    ["batch pop, no lengths", () => ring.tryPopBatch(bytes(1), never), "INVALID_ARGUMENT"],
  ])("%s", (_, call, code) => {
    expect(codeOf(call)).toBe(code);
    expect(ring.length).toBe(0);
  });

  it("also when they are awaited", async () => {
    await expect(ring.push(new Uint8Array(9))).rejects.toMatchObject({ code: "MESSAGE_TOO_LARGE" });
    await expect(ring.push("x" as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(ring.pop({ signal: {} as never })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(ring.popBatch(0)).rejects.toMatchObject({ code: "OUT_OF_RANGE" });
  });
});

describe("close", () => {
  it("refuses pushes, drains, then answers CLOSED everywhere", async () => {
    const ring = small();
    ring.tryPush(bytes(1));
    expect(ring.closed).toBe(false);
    ring.close();
    ring.close();
    expect(Ring.attach(ring.buffer).closed).toBe(true);
    expect(() => ring.tryPush(bytes(2))).toThrow(MillraceError);
    expect(codeOf(() => ring.tryPushBatch([bytes(2)]))).toBe("CLOSED");
    const full = small();
    full.tryPushBatch([0, 1, 2, 3].map((value) => bytes(value)));
    full.close();
    expect(codeOf(() => full.tryPushBatch([bytes(2)]))).toBe("CLOSED");
    await expect(ring.push(bytes(2))).rejects.toMatchObject({ code: "CLOSED" });
    expect(await ring.pop()).toEqual(bytes(1));
    expect(codeOf(() => ring.tryPop())).toBe("CLOSED");
    expect(codeOf(() => ring.tryPopBatch(9))).toBe("CLOSED");
    await expect(ring.pop()).rejects.toMatchObject({ code: "CLOSED" });
  });

  it("hands out the rest of a batch before it says so", () => {
    const ring = small();
    ring.tryPushBatch([bytes(1), bytes(2)]);
    ring.close();
    expect(ring.tryPopBatch(9)).toHaveLength(2);
    expect(codeOf(() => ring.tryPopBatch(9))).toBe("CLOSED");
  });

  it("wakes those who sleep in other threads", async () => {
    const ring = small();
    const sleepers = [start("waitBoth", ring.buffer), start("waitBoth", ring.buffer)];
    await Promise.all(sleepers.map(said));
    await new Promise((resolve) => setTimeout(resolve, 20)); // past the polling, into the sleep
    const answers = Promise.all(sleepers.map(said));
    ring.close();
    for (const answer of await answers) expect(answer.codes).toEqual(["CLOSED", "CLOSED"]);
  });

  it("comes with dispose", async () => {
    const ring = small();
    ring[Symbol.dispose]();
    expect(ring.closed).toBe(true);
    const other = small();
    await other[Symbol.asyncDispose]();
    expect(other.closed).toBe(true);
  });
});

describe("push and pop that wait", () => {
  it("serve those who wait in order", async () => {
    const ring = small();
    const pops = Promise.all([ring.pop(), ring.pop(), ring.pop()]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (let i = 0; i < 3; i++) await ring.push(bytes(i));
    expect(await pops).toEqual([bytes(0), bytes(1), bytes(2)]);

    const pushes = Array.from({ length: 10 }, (_, i) => ring.push(bytes(i)));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const got: number[] = [];
    while (got.length < 10) got.push((await ring.pop())[0] ?? -1);
    await Promise.all(pushes);
    expect(got).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("pop a batch of what there is", async () => {
    const ring = small();
    const batch = ring.popBatch(10);
    await ring.push(bytes(1));
    expect(await batch).toEqual([bytes(1)]);
  });

  it("end by a signal without taking anything", async () => {
    const ring = small();
    const controller = new AbortController();
    const aborted = ring.pop({ signal: controller.signal });
    const next = ring.pop();
    await new Promise((resolve) => setTimeout(resolve, 20));
    controller.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    await expect(ring.pop({ signal: controller.signal })).rejects.toThrow("enough");
    await ring.push(bytes(7));
    expect(await next).toEqual(bytes(7));

    for (let i = 0; i < 4; i++) ring.tryPush(bytes(i));
    await expect(ring.push(bytes(9), { signal: AbortSignal.timeout(5) })).rejects.toThrow();
    expect(ring.length).toBe(4);
  });

  it("neither lose nor repeat across threads", async () => {
    const ring = Ring.create({ slots: 16, slotBytes: 8 });
    const count = 20_000;
    const consumers = [start("consume", ring.buffer), start("consume", ring.buffer)];
    const seen = Promise.all(consumers.map(said));
    const producers = [0, 1].map((i) => start("produce", ring.buffer, { count, from: i * count }));
    await Promise.all(producers.map(said));
    ring.close();
    const all = (await seen).flatMap((answer) => answer.seen as number[]).sort((a, b) => a - b);
    expect(all).toEqual(Array.from({ length: 2 * count }, (_, i) => i));
  });

  it("wake a sleeper across threads every time", async () => {
    const there = small();
    const back = small();
    await said(start("echo", there.buffer, { back: back.buffer }));
    for (let i = 0; i < 100; i++) {
      await there.push(bytes(i));
      expect(await back.pop()).toEqual(bytes(i));
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  it("survive the termination of threads at random moments", async () => {
    const ring = Ring.create({ slots: 4, slotBytes: 8 });
    for (let round = 0; round < 15; round++) {
      const some = Array.from({ length: 3 }, () => start("churn", ring.buffer));
      await Promise.all(some.map(said));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
      await Promise.all(some.map((worker) => worker.terminate()));
    }
    // Whatever they left behind, the ring still works.
    while (ring.tryPop() !== undefined);
    const popped = ring.pop();
    await ring.push(bytes(5));
    expect(await popped).toEqual(bytes(5));
  }, 60_000);
});

describe("the event loop", () => {
  const run = promisify(execFile);
  const script = (body: string) =>
    run(process.execPath, ["--input-type=module", "-e", `import { Ring } from "millrace"; ${body}`], {
      timeout: 10_000,
    });

  it("is not held by a ring", async () => {
    await script(`const ring = Ring.create({ slots: 4, slotBytes: 8 }); ring.tryPush(new Uint8Array(1));`);
  });

  it("is held while somebody waits and released after", async () => {
    const { stdout } = await script(`
      const ring = Ring.create({ slots: 4, slotBytes: 8 });
      setTimeout(() => ring.tryPush(Uint8Array.of(42)), 300).unref();
      ring.pop().then(([value]) => console.log(value));
    `);
    expect(stdout).toBe("42\n");
  });

  it("is released by an abort", async () => {
    await script(`
      const ring = Ring.create({ slots: 4, slotBytes: 8 });
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 50);
      await ring.pop({ signal: controller.signal }).catch(() => {});
    `);
  });

  it("has one chain of looks however often waiting stops and starts", async () => {
    const { stdout } = await script(`
      const ring = Ring.create({ slots: 4, slotBytes: 8 });
      for (let i = 0; i < 50; i++) {
        const controller = new AbortController();
        const popped = ring.pop({ signal: controller.signal }).catch(() => {});
        controller.abort();
        await popped;
      }
      const { port } = await import("./dist/engine/loop.js");
      const start = port.startTimer;
      let sleeps = 0;
      port.startTimer = (ms) => { sleeps++; return start.call(port, ms); };
      const popped = ring.pop();
      await new Promise((resolve) => setTimeout(resolve, 300));
      console.log(sleeps);
      ring.tryPush(new Uint8Array(1));
      await popped;
    `);
    // One, and one for each quarter of a second; each chain of looks would have its own.
    expect(Number(stdout)).toBeGreaterThan(0);
    expect(Number(stdout)).toBeLessThan(10);
  });

  it("gets a turn although messages never run out", async () => {
    const ring = small();
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    for (let i = 0; i < 1000; i++) {
      ring.tryPush(bytes(1));
      await ring.pop();
    }
    expect(turned).toBe(true);
  });

  it("is not blocked and hardly used while somebody sleeps", async () => {
    const { stdout } = await script(`
      const ring = Ring.create({ slots: 4, slotBytes: 8 });
      const popped = ring.pop();
      await new Promise((resolve) => setTimeout(resolve, 100));
      const before = process.cpuUsage();
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const { user, system } = process.cpuUsage(before);
      ring.tryPush(new Uint8Array(1));
      await popped;
      console.log((user + system) / 1000);
    `);
    expect(Number(stdout)).toBeLessThan(60); // milliseconds of 2,000
  });
});

describe("a ring whose memory JavaScript overwrites", () => {
  it("answers something, and nothing crashes", async () => {
    const seed = Date.now() % 1_000_000;
    let state = seed;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return state % below;
    };
    for (let round = 0; round < 100; round++) {
      const ring = Ring.create({ slots: 8, slotBytes: 16 });
      const memory = new Uint8Array(ring.buffer);
      const into = new Uint8Array(16);
      const lengths = new Uint32Array(4);
      const controller = new AbortController();
      const waits = [
        ring.pop({ signal: controller.signal }),
        ring.push(bytes(1), { signal: controller.signal }),
      ];
      const operations = [
        () => ring.tryPush(bytes(1, 2, 3)),
        () => ring.tryPop(into),
        () => ring.tryPop(),
        () => ring.tryPushBatch([bytes(1), bytes(2)]),
        () => ring.tryPopBatch(4),
        () => ring.tryPopBatch(into, lengths),
        () => ring.tryPushBatch(memory.subarray(64, 80), Uint32Array.of(8, 8)),
        () => ring.tryPush(memory.subarray(random(memory.length - 16)).subarray(0, 16)),
      ];
      for (let i = 0; i < 200; i++) {
        memory[random(memory.length)] = random(256);
        const code = codeOf(() => operations[random(operations.length)]?.());
        expect([undefined, "CLOSED", "OUT_OF_RANGE"], `seed ${seed}`).toContain(code);
      }
      codeOf(() => Ring.attach(ring.buffer));
      controller.abort();
      await Promise.allSettled(waits);
    }
  }, 60_000);
});
