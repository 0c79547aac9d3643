/**
 * What a pool's thread runs: one long-lived task that attaches to the broker and consumes the queue until it is told to
 * close. It is started by piscina, never imported; that is why it may import the broker.
 */
import { Broker } from "../broker.js";
import { type AgentContext, handlerOf } from "./agent.js";
import type { FromWorker, ToWorker, WorkerTask } from "./protocol.js";

export async function run(task: WorkerTask): Promise<void> {
  const { port, data } = task;
  const say = (message: FromWorker): void => port.postMessage(message);
  const closing = new Promise<number>((resolve) => {
    port.on("message", (message: ToWorker) => resolve(message.timeout));
  });
  const agent = handlerOf<Broker>(await import(task.module), task.module);
  const broker = Broker.attach(task.handle);
  const queue = await broker.queue(task.queue, { codec: task.codec });
  let context: AgentContext<Broker> | undefined;
  const consumer = queue.consumeCounting(
    (message, { signal }) => {
      context ??= { signal, broker, data };
      return agent(message, context);
    },
    {
      concurrency: task.concurrency,
      prefetch: task.prefetch,
      onError: (error) =>
        say({ type: "error", code: (error as { code?: string }).code, message: error.message }),
    },
    task.started,
  );
  say({ type: "ready" });
  // The agent may close the broker of its thread, or the store fails: then this task ends, and the pool hears of it.
  const timeout = await Promise.race([closing, consumer.closed.then(() => 0)]);
  await consumer.close({ timeout });
  await broker.close({ timeout });
  port.close();
}
