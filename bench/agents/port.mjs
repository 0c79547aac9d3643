// The postMessage baseline: notes each message and answers when all have come.
import { parentPort } from "node:worker_threads";
import { Arrivals } from "../harness/bodies.mjs";

parentPort.once("message", ({ port, shared, count }) => {
  const arrivals = new Arrivals(shared);
  let received = 0;
  port.on("message", (message) => {
    arrivals.bytes(Buffer.from(message.buffer, message.byteOffset, message.length));
    if (++received === count) {
      received = 0;
      port.postMessage("done");
    }
  });
});
