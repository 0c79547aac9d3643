/** Everything that waits in the queues "tasks" and "tasks.dead" of a directory. */
import { Broker } from "millrace";

/** @typedef {{ n: number, mark: string }} Body */

/** @returns {Promise<{ code?: string, detail?: string, bodies?: Body[], dead?: Body[] }>} */
export async function contentsOf(/** @type {string} */ dir) {
  let broker;
  try {
    broker = await Broker.open({ dir });
    const read = async (name) => {
      const queue = await broker.queue(name, { maxDeliveries: 0 });
      const bodies = [];
      const { ready } = queue.stats();
      const stream = queue.receive({ prefetch: 10_000 });
      while (bodies.length < ready) {
        const { body } = (await stream.next()).value;
        bodies.push({ n: body.n, mark: body.mark });
      }
      // Kept leased: the store is as it was.
      return bodies;
    };
    return { bodies: await read("tasks"), dead: await read("tasks.dead") };
  } catch (error) {
    return { code: error.code ?? `${error}`, detail: error.message };
  } finally {
    await broker?.close({ timeout: 0 });
  }
}
