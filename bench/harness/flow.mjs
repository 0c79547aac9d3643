// Messages from a sender in this thread to consumers elsewhere, acked: the two ways to send, and the whole round.
import { Arrivals, body, number, objectOf } from "./bodies.mjs";
import { Samples } from "./statistics.mjs";
import { settled } from "./store.mjs";

const SAMPLE_EVERY = 8;

/** Bodies to send: `next()` is valid until it was called `ahead` more times, a `fresh` one for good. */
function bodies({ bytes, objects, fresh }, ahead) {
  let index = 0;
  if (objects) return { next: () => objectOf(index++) };
  if (fresh) {
    const pattern = body(bytes);
    return {
      next() {
        const one = Buffer.from(pattern);
        number(one, index++);
        return one;
      },
    };
  }
  const made = Array.from({ length: ahead }, () => body(bytes));
  return {
    next() {
      const one = made[index % ahead];
      number(one, index++);
      return one;
    },
  };
}

/** `window` awaited sends in flight at all times. */
export function awaited(window) {
  return async (queue, count, shape, samples) => {
    const source = bodies(shape, 1);
    let sent = 0;
    const lane = async () => {
      while (sent < count) {
        const sampled = sent++ % SAMPLE_EVERY === 0;
        const from = sampled ? performance.now() : 0;
        await queue.send(source.next());
        if (sampled) samples.add(performance.now() - from);
      }
    };
    await Promise.all(Array.from({ length: window }, lane));
  };
}

/** Batches of `size` by sendBatch, `window` of them in flight. `count` is a multiple of `size`. */
export function batches(size, window) {
  return async (queue, count, shape, samples) => {
    const source = bodies(shape, size);
    let sent = 0;
    const lane = async () => {
      while (sent < count) {
        sent += size;
        const batch = [];
        for (let i = 0; i < size; i++) batch.push(source.next());
        const from = performance.now();
        await queue.sendBatch(batch);
        samples.add(performance.now() - from);
      }
    };
    await Promise.all(Array.from({ length: window }, lane));
  };
}

/**
 * Starts the consumer, one of takers.mjs, and returns a measure for inTurns(): sends `count` messages, waits until every
 * one is delivered, acked and that durable, checks them, and gives messages a second with the senders' latencies.
 */
export async function flow(queue, { send, take, count, shape }) {
  const arrivals = Arrivals.create(count, shape.bytes ?? 8);
  const note = shape.objects ? (body) => arrivals.object(body) : (body) => arrivals.bytes(body);
  const data = { shared: arrivals.shared, objects: shape.objects === true };
  const consumer = take(queue, { note, data });
  await consumer.ready;
  const samples = new Samples(count);
  return {
    measure: async () => {
      samples.clear();
      const from = performance.now();
      await send(queue, count, shape, samples);
      await settled(queue);
      const value = (count / (performance.now() - from)) * 1000;
      arrivals.verify(count);
      return { value, latencies: samples.values };
    },
    stop: () => consumer.close(),
  };
}
