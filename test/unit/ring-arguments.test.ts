/** Bytes and options that are not what they say: refused with a code, and nothing is pushed. */
import { Ring } from "millrace";
import { describe, expect, test } from "vitest";

describe("arguments that are not what they say", () => {
  const detached = (): Uint8Array => {
    const bytes = new Uint8Array(8);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    return bytes;
  };
  class Lying extends Uint8Array {
    override get length(): number {
      return 32;
    }
  }

  test("detached bytes are refused with a code, and nothing is pushed", async () => {
    const ring = Ring.create({ slots: 4, slotBytes: 64 });
    const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT", name: "TypeError" });
    expect(() => ring.tryPush(detached())).toThrow(invalid);
    expect(() => ring.tryPushBatch([new Uint8Array(1), detached()])).toThrow(invalid);
    expect(() => ring.tryPushBatch(new Array(2))).toThrow(invalid);
    await expect(ring.push(detached())).rejects.toEqual(invalid);
    const lengths = new Uint32Array(2);
    structuredClone(lengths.buffer, { transfer: [lengths.buffer] });
    expect(() => ring.tryPushBatch(new Uint8Array(8), lengths)).toThrow(invalid);
    expect(ring.length).toBe(0);
  });

  test("a subclass that lies about its length is taken at its true one", () => {
    const ring = Ring.create({ slots: 4, slotBytes: 64 });
    ring.tryPush(new Uint8Array(40).fill(7));
    ring.tryPop();
    ring.tryPush(new Lying(3).fill(1));
    expect(ring.tryPop()).toEqual(Uint8Array.of(1, 1, 1));
  });

  test.each([null, "x", 5, { singal: undefined }, { signal: 1 }])(
    "wait options %o are refused",
    async (options) => {
      const ring = Ring.create({ slots: 4, slotBytes: 8 });
      const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT", name: "TypeError" });
      await expect(ring.pop(options as never)).rejects.toEqual(invalid);
      await expect(ring.popBatch(1, options as never)).rejects.toEqual(invalid);
      await expect(ring.push(new Uint8Array(1), options as never)).rejects.toEqual(invalid);
    },
  );

  test("options of create are own and known", () => {
    const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    expect(() => Ring.create(Object.create({ slots: 4, slotBytes: 8 }))).toThrow(invalid);
    expect(() => Ring.create({ slots: 4, slotBytes: 8, slotsBytes: 8 } as never)).toThrow(invalid);
  });
});
