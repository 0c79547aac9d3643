/** A process that keeps every core busy until whoever forked it disconnects or ends. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";

for (let i = 0; i < availableParallelism(); i++) new Worker("for (;;);", { eval: true });
process.on("disconnect", () => process.exit(0));
