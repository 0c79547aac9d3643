// The agent of every run whose consumer is a worker thread: notes each message and is done.
import { Arrivals } from "../harness/bodies.mjs";

let arrivals;

export default function handler(message, { data }) {
  arrivals ??= new Arrivals(data.shared);
  if (data.objects) arrivals.object(message.body);
  else arrivals.bytes(message.body);
}
