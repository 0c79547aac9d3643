// The postMessage and piscina baselines of a round trip: the answer is what was asked.
import { isMainThread, parentPort } from "node:worker_threads";

export default (message) => message;

if (!isMainThread) parentPort.on("message", (message) => message?.echo && parentPort.postMessage(message));
