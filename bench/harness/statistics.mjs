// Medians, percentiles, and the repetitions they are taken of.

/** The median of numbers in any order. */
export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The median and the interval that holds the true one with at least 95 %, whatever the distribution: two of the values
 * themselves, chosen by how often a fair coin would put the true median outside (the sign test turned round).
 * With 11 values the second least and the second largest, with 17 the fifth.
 * @returns { value, low, high }; with fewer than 6 values no two of them say so much
 */
export function medianWithInterval(values) {
  const sorted = Float64Array.from(values).sort();
  const n = sorted.length;
  if (n < 6) throw new RangeError("an interval of the median needs 6 values");
  // `outside`: the chance that at most `cut` of n values lie on one side of the median.
  let cut = -1;
  let chance = 0.5 ** n;
  for (let outside = chance; outside <= 0.025; outside += chance) {
    cut++;
    chance *= (n - cut) / (cut + 1);
  }
  return { value: median(sorted), low: sorted[cut], high: sorted[n - 1 - cut] };
}

/** { p50, p99 } of samples, in their unit. */
export function percentiles(samples) {
  const sorted = Float64Array.from(samples).sort();
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
  return { p50: at(0.5), p99: at(0.99) };
}

/** Latencies in microseconds, collected without growing an array in the middle of a run. */
export class Samples {
  #values;
  #count = 0;

  constructor(most) {
    this.#values = new Float64Array(most);
  }

  add(ms) {
    if (this.#count < this.#values.length) this.#values[this.#count++] = ms * 1000;
  }

  clear() {
    this.#count = 0;
  }

  get values() {
    return this.#values.subarray(0, this.#count);
  }
}

/**
 * Runs every measure once to warm up, then `repetitions` times in turns, so that a disturbance of the machine meets
 * all of them. A measure returns { value, latencies? }.
 * @returns for each: { value (the median), spread: [least, most], p50?, p99? }
 */
export async function inTurns(repetitions, measures) {
  const taken = measures.map(() => ({ values: [], latencies: [] }));
  for (let turn = -1; turn < repetitions; turn++) {
    for (const [i, measure] of measures.entries()) {
      const { value, latencies } = await measure();
      if (turn < 0) continue;
      taken[i].values.push(value);
      if (latencies !== undefined) taken[i].latencies.push(...latencies);
    }
  }
  return taken.map(({ values, latencies }) => ({
    value: median(values),
    spread: [Math.min(...values), Math.max(...values)],
    ...(latencies.length > 0 && percentiles(latencies)),
  }));
}
