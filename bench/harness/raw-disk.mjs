// The device beside the engine: a native process that commits on request (bench/native/raw_disk.cc), in the same
// directory and in turns with what is measured.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export class RawDisk {
  #child;
  #answers;

  constructor(child) {
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  static async start(nativeBench, dir) {
    const raw = new RawDisk(spawn(nativeBench, ["raw", dir], { stdio: ["pipe", "pipe", "inherit"] }));
    await raw.#answer();
    return raw;
  }

  /** Microseconds of each of `count` writes of `bytes`, `pauseUs` asleep before each. */
  async commit({ count, bytes = 4096, sync = true, pauseUs = 0 }) {
    this.#child.stdin.write(`${count} ${bytes} ${sync ? 1 : 0} ${pauseUs}\n`);
    return (await this.#answer()).map((ns) => ns / 1000);
  }

  async #answer() {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("the native benchmark ended");
    return JSON.parse(value);
  }

  stop() {
    this.#child.stdin.end();
  }
}
