// What does an open broker with nothing to do cost?

import { atMost } from "./harness/report.mjs";
import { withQueue } from "./harness/store.mjs";

export const title = "Idle: an open durable broker and four worker threads that wait for messages";

const SECONDS = 3;
const agent = new URL("./agents/count.mjs", import.meta.url);

export async function run({ dir }) {
  const alone = await share();
  const rows = [];
  await withQueue({ dir }, async (queue) => {
    const pool = queue.consumeInWorkers(agent, { threads: 4, data: {} });
    await pool.ready;
    await share(1); // what starting left behind
    rows.push({
      name: `over ${SECONDS} s`,
      value: await share(),
      unit: "% of a core",
      baseline: { name: "the same process without a broker", value: alone },
      goal: atMost(0.5),
    });
    await pool.close();
    return 0;
  });
  return rows;
}

/** CPU time of this process, all threads, as a percentage of one core. */
async function share(seconds = SECONDS) {
  const before = process.cpuUsage();
  const from = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 10 / (performance.now() - from);
}
