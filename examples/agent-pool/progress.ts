/** Shows how far the job is: one line that is redrawn on a terminal, a line every tenth of the way elsewhere. */
const REDRAW_MS = 100;
const BAR_CELLS = 28;

export class Progress {
  readonly #out: NodeJS.WriteStream;
  #drawnAt = 0;
  #tenths = 0;
  #drawn = false;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  /** `describe` is called only if there is something to print. */
  update(ratio: number, describe: () => string): void {
    if (this.#out.isTTY) {
      const now = performance.now();
      if (now - this.#drawnAt < REDRAW_MS) return;
      this.#drawnAt = now;
      this.#draw(ratio, describe());
    } else if (Math.floor(ratio * 10) > this.#tenths) {
      this.#tenths = Math.floor(ratio * 10);
      this.#out.write(`${percent(ratio)}  ${describe()}\n`);
    }
  }

  /** A line of its own, above the bar. */
  say(text: string): void {
    this.clear();
    this.#out.write(`${text}\n`);
  }

  clear(): void {
    if (this.#drawn) this.#out.write("\r\x1b[K");
    this.#drawn = false;
  }

  #draw(ratio: number, text: string): void {
    const full = Math.floor(ratio * BAR_CELLS);
    const bar = "#".repeat(full) + "-".repeat(BAR_CELLS - full);
    const line = `[${bar}] ${percent(ratio)}  ${text}`;
    // A line that wraps could not be redrawn.
    this.#out.write(`\r${line.slice(0, Math.max(0, this.#out.columns - 1))}\x1b[K`);
    this.#drawn = true;
  }
}

function percent(ratio: number): string {
  return `${Math.floor(ratio * 100)} %`.padStart(5);
}
