// The piscina.run baseline: one call a message.
import { workerData } from "piscina";
import { Arrivals } from "../harness/bodies.mjs";

const arrivals = new Arrivals(workerData);

export default function task(object) {
  arrivals.object(object);
}
