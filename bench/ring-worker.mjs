// The second thread of bench/ring.mjs: takes `count` messages the way `how` says, checks each, answers the verdict.
import { parentPort, workerData } from "node:worker_threads";
import { Ring } from "millrace";
import { Claims, Verifier, write } from "./ring-messages.mjs";

const { how, count, size, buffer, back, claims, from, to, words } = workerData;
const ring = buffer && Ring.attach(buffer);
const verifier = new Verifier(size);
const finish = () => parentPort.postMessage(verifier.verdict(count));

const takers = {
  async one() {
    const into = new Uint8Array(size);
    while (verifier.count < count) {
      verifier.over(into);
      while (verifier.count < count && ring.tryPop(into) >= 0) verifier.check(0);
      if (verifier.count < count) verifier.checkArray(await ring.pop());
    }
  },
  async packed() {
    const into = new Uint8Array(size * 256);
    const lengths = new Uint32Array(256);
    while (verifier.count < count) {
      const popped = ring.tryPopBatch(into, lengths);
      verifier.over(into);
      for (let i = 0; i < popped; i++) verifier.check(i * size);
      if (popped === 0) verifier.checkArray(await ring.pop());
    }
  },
  async list() {
    while (verifier.count < count) {
      for (const message of await ring.popBatch(256)) verifier.checkArray(message);
    }
  },
};

/** Two of several threads that work on one ring. */
const competitors = {
  produce() {
    const packed = new Uint8Array(size * 256);
    const packedWords = new Uint32Array(packed.buffer);
    const lengths = new Uint32Array(256).fill(size);
    for (let sent = from; sent < to; sent += 256) {
      for (let i = 0; i < 256; i++) write(packedWords, i * size, size, sent + i);
      let accepted = ring.tryPushBatch(packed, lengths);
      while (accepted < 256) {
        accepted += ring.tryPushBatch(packed.subarray(accepted * size), lengths.subarray(accepted));
      }
    }
  },
  claim() {
    const shared = new Claims(claims);
    const into = new Uint8Array(size * 256);
    const intoWords = new Uint32Array(into.buffer);
    const lengths = new Uint32Array(256);
    while (shared.taken < count) shared.note(intoWords, ring.tryPopBatch(into, lengths), size);
  },
};

if (how in competitors) {
  parentPort.once("message", () => {
    competitors[how]();
    parentPort.postMessage("done");
  });
} else if (how in takers) {
  parentPort.once("message", () => takers[how]().then(finish));
} else if (how === "postMessage") {
  parentPort.on("message", (message) => {
    verifier.checkArray(message);
    if (verifier.count === count) finish();
  });
} else if (how === "transfer") {
  parentPort.on("message", (packed) => {
    verifier.over(packed);
    for (let at = 0; at < packed.length; at += size) verifier.check(at);
    if (verifier.count === count) finish();
  });
} else if (how === "echo") {
  const answers = Ring.attach(back);
  (async () => {
    for (;;) await answers.push(await ring.pop());
  })().catch(() => {});
} else if (how === "bare") {
  setInterval(() => {}, 1000); // waitAsync does not keep the loop alive
  (async () => {
    for (let seen = 0; ; seen++) {
      const { async: waits, value } = Atomics.waitAsync(words, 0, seen);
      if (waits) await value;
      Atomics.add(words, 1, 1);
      Atomics.notify(words, 1);
    }
  })();
} else {
  parentPort.on("message", (message) => parentPort.postMessage(message));
}
parentPort.postMessage("ready");
