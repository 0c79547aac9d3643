/**
 * Dead messages that wait for room in their dead-letter queue: nobody is told when one has moved, so those who want to
 * know look, one timer for all of a thread, the more rarely the longer nothing moves. It keeps no event loop alive:
 * the wait may be for ever.
 */
import { after } from "./loop.js";

const LOOK_MS_MIN = 20;
const LOOK_MS_MAX = 1000;
/** Of each queue at one look. They move in order, roughly: when the first do not, those behind hardly do. */
const LOOKS_AT_ONCE = 256;

interface Burial {
  readonly seq: number;
  resolve(unit: number): void;
  reject(error: Error): void;
}

export class Burials {
  /** The unit of a burial, or a negative number: not yet. Throws when it never will be. */
  readonly #unitOf: (queue: number, seq: number) => number;
  readonly #waiting = new Map<number, Burial[]>();
  #cancelLook: (() => void) | undefined;
  #lookMs = LOOK_MS_MIN;

  constructor(unitOf: (queue: number, seq: number) => number) {
    this.#unitOf = unitOf;
  }

  /** Resolves with the unit that makes it durable. */
  add(queue: number, seq: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(queue);
      if (waiting === undefined) this.#waiting.set(queue, [{ seq, resolve, reject }]);
      else waiting.push({ seq, resolve, reject });
      this.#cancelLook ??= after(this.#lookMs, this.#look);
    });
  }

  end(error: Error): void {
    this.#cancelLook?.();
    const all = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    for (const burial of all) burial.reject(error);
  }

  readonly #look = (): void => {
    this.#cancelLook = undefined;
    let moved = false;
    for (const [queue, waiting] of this.#waiting) {
      const left: Burial[] = [];
      for (const burial of waiting.splice(0, LOOKS_AT_ONCE)) {
        try {
          const unit = this.#unitOf(queue, burial.seq);
          if (unit < 0) left.push(burial);
          else burial.resolve(unit);
          moved ||= unit >= 0;
        } catch (error) {
          burial.reject(error as Error);
        }
      }
      waiting.push(...left);
      if (waiting.length === 0) this.#waiting.delete(queue);
    }
    this.#lookMs = moved ? LOOK_MS_MIN : Math.min(2 * this.#lookMs, LOOK_MS_MAX);
    if (this.#waiting.size > 0) this.#cancelLook = after(this.#lookMs, this.#look);
  };
}
