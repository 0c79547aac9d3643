/**
 * Adds results up. Delivery is at least once: a thread may die after it sent a result and before its ack, and the
 * process may die anywhere. So each result is known by file and piece, and what was seen before is dropped.
 */
import { addCounts, type Counts, noCounts } from "./analysis.js";
import { BitSet } from "./bit-set.js";
import type { TallyState } from "./job-state.js";
import type { PieceResult } from "./messages.js";

interface PartialFile {
  pieces: number;
  readonly seen: BitSet;
}

export class Tally {
  readonly totals: Counts;
  readonly #files: number;
  readonly #complete: BitSet;
  readonly #partial = new Map<number, PartialFile>();
  #pieces: number;
  #unreadable: number;
  #duplicates: number;

  constructor(files: number, state?: TallyState) {
    this.#files = files;
    this.totals = state === undefined ? noCounts() : { ...state.totals };
    this.#pieces = state?.pieces ?? 0;
    this.#unreadable = state?.unreadable ?? 0;
    this.#duplicates = state?.duplicates ?? 0;
    this.#complete = new BitSet(files, state?.complete);
    for (const { file, pieces, seen } of state?.partial ?? []) {
      this.#partial.set(file, { pieces, seen: new BitSet(pieces, seen) });
    }
  }

  get done(): boolean {
    return this.#complete.size === this.#files;
  }

  get complete(): number {
    return this.#complete.size;
  }

  get pieces(): number {
    return this.#pieces;
  }

  get unreadable(): number {
    return this.#unreadable;
  }

  /** Results that were dropped because they had been added before. */
  get duplicates(): number {
    return this.#duplicates;
  }

  isComplete(file: number): boolean {
    return this.#complete.has(file);
  }

  add({ file, piece, pieces, unreadable, counts }: PieceResult): void {
    if (this.#complete.has(file)) {
      this.#duplicates++;
      return;
    }
    const partial = this.#partial.get(file) ?? { pieces, seen: new BitSet(pieces) };
    // A file that was split twice and changed in between: the smaller number is sure to arrive, the check will tell.
    partial.pieces = Math.min(partial.pieces, pieces);
    if (partial.seen.has(piece) || piece >= partial.pieces) {
      this.#duplicates++;
    } else {
      partial.seen.add(piece);
      addCounts(this.totals, counts);
      if (unreadable) this.#unreadable++;
      else this.#pieces++;
    }
    if (partial.seen.size < partial.pieces) {
      this.#partial.set(file, partial);
    } else {
      this.#partial.delete(file);
      this.#complete.add(file);
    }
  }

  toState(): TallyState {
    return {
      totals: this.totals,
      pieces: this.#pieces,
      unreadable: this.#unreadable,
      duplicates: this.#duplicates,
      complete: this.#complete.toString(),
      partial: [...this.#partial].map(([file, { pieces, seen }]) => ({
        file,
        pieces,
        seen: seen.toString(),
      })),
    };
  }
}
