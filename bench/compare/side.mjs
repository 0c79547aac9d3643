// One side of a comparison, in a process of its own: opens a queue of the build that it was copied beside, and measures a
// slice whenever it is told to. At "stop" a durable store is opened again and counted.
import { on } from "node:events";
import { exit } from "node:process";
import { flow } from "../harness/flow.mjs";
import { withQueue } from "../harness/store.mjs";
import { rows } from "./rows.mjs";

const words = on(process, "message");

/** The next word of the driver. */
const word = async () => (await words.next()).value[0];

const say = (message) => new Promise((resolve) => process.send(message, resolve));

async function serve() {
  const { row, dir } = await word();
  const { durable, ...how } = rows[row];
  await withQueue({ dir: durable ? dir : undefined }, async (queue) => {
    const { measure, stop } = await flow(queue, how);
    await say({ ready: import.meta.resolve("millrace") });
    while ((await word()) === "slice") {
      const before = process.cpuUsage();
      const { value } = await measure();
      const { user, system } = process.cpuUsage(before);
      await say({ rate: value, cpuUs: (user + system) / how.count });
    }
    await stop();
    return 0;
  });
  await say({ done: true });
}

// A driver that was ended leaves nobody behind.
process.on("disconnect", () => exit(1));

try {
  await serve();
  exit(0);
} catch (error) {
  await say({ error: error.stack ?? String(error) });
  exit(1);
}
