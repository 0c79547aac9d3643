/** The public types, tested as types. */
import {
  type Agent,
  type BatchReceipt,
  Broker,
  type BrokerHandle,
  type BrokerOptions,
  type BrokerStats,
  type CodecName,
  type ConsumeOptions,
  type Consumer,
  type DeadLetter,
  type Durability,
  type ErrorCode,
  type Handler,
  type HandlerContext,
  type HandlerResult,
  type Headers,
  type Message,
  type MessageContent,
  type MessageStream,
  MillraceError,
  type PoolOptions,
  type Queue,
  type QueueOptions,
  type QueueStats,
  type Receipt,
  type SendOptions,
  type WorkerPool,
} from "millrace";
import { describe, expectTypeOf, test } from "vitest";

interface Task {
  readonly id: number;
  readonly url: string;
}
declare const broker: Broker;
declare const queue: Queue<Task>;
declare const message: Message<Task>;

describe("Broker", () => {
  test("opens and attaches to brokers", () => {
    expectTypeOf(Broker.open).parameter(0).toEqualTypeOf<BrokerOptions | undefined>();
    expectTypeOf(Broker.open()).resolves.toEqualTypeOf<Broker>();
    expectTypeOf(Broker.attach).parameters.toEqualTypeOf<[handle: BrokerHandle]>();
    expectTypeOf(Broker.attach({ broker: 1, token: 2 })).toEqualTypeOf<Broker>();
    // @ts-expect-error only open and attach make one
    new Broker();
  });

  test("gives queues of a type, unknown unless said", () => {
    expectTypeOf(broker.queue<Task>("tasks")).resolves.toEqualTypeOf<Queue<Task>>();
    expectTypeOf(broker.queue<Task>("tasks", { codec: "json" })).resolves.toEqualTypeOf<Queue<Task>>();
    expectTypeOf(broker.queue("tasks", { codec: "bytes" })).resolves.toEqualTypeOf<Queue<Uint8Array>>();
    expectTypeOf(broker.queue("tasks", { codec: "text" })).resolves.toEqualTypeOf<Queue<string>>();
    expectTypeOf(broker.queue("tasks")).resolves.toEqualTypeOf<Queue<unknown>>();
    expectTypeOf(broker.queue<Buffer>("tasks", { codec: "bytes" })).resolves.toEqualTypeOf<Queue<Buffer>>();
    expectTypeOf(broker.queue<"a" | "b">("tasks", { codec: "text" })).resolves.toEqualTypeOf<
      Queue<"a" | "b">
    >();
    // @ts-expect-error bodies of the codec bytes are bytes
    void broker.queue<Task>("tasks", { codec: "bytes" });
    // @ts-expect-error those of the codec text are text
    void broker.queue<number>("tasks", { codec: "text" });
    const someCodec = "json" as CodecName;
    expectTypeOf(broker.queue("tasks", { codec: someCodec })).resolves.toEqualTypeOf<Queue<unknown>>();
    // @ts-expect-error which codec it is decides what the bodies may be
    void broker.queue<Task>("tasks", { codec: someCodec });
    // @ts-expect-error a queue has a name
    void broker.queue();
    // @ts-expect-error which is text
    void broker.queue(1);
  });

  test("has its state and its end", () => {
    expectTypeOf(broker.durability).toEqualTypeOf<Durability>();
    expectTypeOf<Durability>().toEqualTypeOf<"memory" | "process" | "sync">();
    expectTypeOf(broker.closed).toEqualTypeOf<boolean>();
    expectTypeOf(broker.handle).toEqualTypeOf<BrokerHandle>();
    expectTypeOf(broker.stats()).toEqualTypeOf<BrokerStats>();
    expectTypeOf(broker.close({ timeout: 1 })).resolves.toBeVoid();
    expectTypeOf(broker).toExtend<AsyncDisposable>();
    // @ts-expect-error read-only
    broker.closed = true;
    // @ts-expect-error read-only
    broker.handle.broker = 1;
  });

  test("takes its options exactly", () => {
    expectTypeOf<{ dir: string; durability: "process"; segmentBytes: number }>().toExtend<BrokerOptions>();
    expectTypeOf<{ dir?: undefined }>().not.toExtend<BrokerOptions>();
    expectTypeOf<{ dir: undefined }>().not.toExtend<BrokerOptions>();
    // @ts-expect-error a misspelled option
    void Broker.open({ directory: "./data" });
    // @ts-expect-error "memory" is said by leaving dir out
    void Broker.open({ dir: "./data", durability: "memory" });
    // @ts-expect-error exactOptionalPropertyTypes
    void Broker.open({ dir: undefined });
    // @ts-expect-error numbers are numbers
    void Broker.open({ segmentBytes: "64MiB" });
  });
});

describe("Queue", () => {
  test("sends its type and nothing else", () => {
    expectTypeOf(queue.send).parameters.toEqualTypeOf<[body: Task, options?: SendOptions | undefined]>();
    expectTypeOf(queue.send({ id: 1, url: "" })).resolves.toEqualTypeOf<Receipt>();
    expectTypeOf(queue.trySend({ id: 1, url: "" })).toEqualTypeOf<boolean>();
    expectTypeOf(queue.sendBatch).parameter(0).toEqualTypeOf<readonly Task[]>();
    expectTypeOf(queue.sendBatch([])).resolves.toEqualTypeOf<BatchReceipt>();
    // @ts-expect-error a missing property
    void queue.send({ id: 1 });
    // @ts-expect-error a property of another type
    void queue.send({ id: "1", url: "" });
    // @ts-expect-error a batch of something else
    void queue.sendBatch([1, 2]);
    // @ts-expect-error one message is no batch
    void queue.sendBatch({ id: 1, url: "" });
  });

  test("is neither wider nor narrower than its type", () => {
    expectTypeOf<Queue<Task>>().not.toExtend<Queue<{ id: number; url: string; more: true }>>();
    expectTypeOf<Queue<number>>().not.toExtend<Queue<string>>();
  });

  test("receives messages of its type", () => {
    expectTypeOf(queue.receive()).toEqualTypeOf<MessageStream<Task>>();
    expectTypeOf(queue.receive({ prefetch: 1, signal: new AbortController().signal })).toExtend<
      AsyncIterable<Message<Task>>
    >();
    expectTypeOf(queue.receive().next()).resolves.toEqualTypeOf<IteratorResult<Message<Task>, undefined>>();
    expectTypeOf(queue.peek()).toEqualTypeOf<MessageContent<Task>[]>();
    // @ts-expect-error receive has no concurrency
    void queue.receive({ concurrency: 2 });
  });

  test("consumes with handlers that return anything", () => {
    expectTypeOf(queue.consume(() => {})).toEqualTypeOf<Consumer<Task>>();
    expectTypeOf(queue.consume).parameters.toEqualTypeOf<
      [handler: Handler<Task>, options?: ConsumeOptions | undefined]
    >();
    queue.consume((received, context) => {
      expectTypeOf(received).toEqualTypeOf<Message<Task>>();
      expectTypeOf(received.body).toEqualTypeOf<Task>();
      expectTypeOf(context).toEqualTypeOf<HandlerContext>();
      expectTypeOf(context.signal).toEqualTypeOf<AbortSignal>();
    });
    queue.consume(async ({ body: { id } }) => id);
    queue.consume(() => Math.random() < 0.5 || undefined);
    queue.consume(({ body }) => (body.id > 0 ? [body] : null));
    queue.consume(({ body }) => ({ next: body }));
    queue.consume((received) => received.ack());
    queue.consume((): object => new Map());
    expectTypeOf<HandlerResult>().toEqualTypeOf<ReturnType<Handler<Task>>>();
    // @ts-expect-error nobody runs the lines of a generator
    queue.consume(function* () {});
    // @ts-expect-error nor of an asynchronous one
    queue.consume(async function* ({ body }) {
      yield body;
    });
    // @ts-expect-error nor of one by another name
    queue.consume((): IterableIterator<number> => [1].values());
    // @ts-expect-error a handler of another type
    queue.consume((_: Message<{ id: string }>) => {});
    // @ts-expect-error options are not misspelled
    queue.consume(() => {}, { concurency: 2 });
    // @ts-expect-error exactOptionalPropertyTypes
    queue.consume(() => {}, { prefetch: undefined });
  });

  test("consumes in workers", () => {
    expectTypeOf(queue.consumeInWorkers).parameters.toEqualTypeOf<
      [module: URL | string, options?: PoolOptions | undefined]
    >();
    expectTypeOf(queue.consumeInWorkers("/agent.js")).toEqualTypeOf<WorkerPool>();
    expectTypeOf<WorkerPool["ready"]>().resolves.toBeVoid();
    const agent: Agent<Task, Broker> = async (received, context) => {
      expectTypeOf(received).toEqualTypeOf<Message<Task>>();
      expectTypeOf(context.broker).toEqualTypeOf<Broker>();
      expectTypeOf(context.data).toBeUnknown();
    };
    expectTypeOf(agent).toExtend<Agent<Task, Broker>>();
    // @ts-expect-error nobody runs the lines of a generator
    (async function* () {}) satisfies Agent<Task, Broker>;
  });

  test("has what its users ask of it", () => {
    expectTypeOf(queue.name).toBeString();
    expectTypeOf(queue.durability).toEqualTypeOf<Durability>();
    expectTypeOf(queue.stats()).toEqualTypeOf<QueueStats>();
    expectTypeOf(queue.purge()).resolves.toBeNumber();
    expectTypeOf(queue.pause()).toBeVoid();
    expectTypeOf(queue.resume()).toBeVoid();
    // @ts-expect-error read-only
    queue.name = "other";
    // @ts-expect-error read-only
    queue.stats().ready = 1;
  });

  test("takes its options exactly", () => {
    expectTypeOf<QueueOptions["codec"]>().toEqualTypeOf<CodecName | undefined>();
    expectTypeOf<CodecName>().toEqualTypeOf<"json" | "bytes" | "text">();
    void broker.queue("q", { capacity: 1, overflow: "reject", visibilityTimeout: 1, maxDeliveries: 0 });
    void broker.queue("q", { deadLetter: "d", codec: "bytes", durability: "memory" });
    // @ts-expect-error a misspelled option
    void broker.queue("q", { maxDelivery: 1 });
    // @ts-expect-error an overflow that does not exist
    void broker.queue("q", { overflow: "drop" });
    // @ts-expect-error a codec that does not exist
    void broker.queue("q", { codec: "xml" });
    // @ts-expect-error exactOptionalPropertyTypes
    void broker.queue("q", { capacity: undefined });
  });
});

describe("Message", () => {
  test("has what was sent and how often it was delivered", () => {
    expectTypeOf(message.body).toEqualTypeOf<Task>();
    expectTypeOf(message.headers).toEqualTypeOf<Headers>();
    expectTypeOf(message.headers).toEqualTypeOf<{ readonly [name: string]: string }>();
    expectTypeOf(message.seq).toBeBigInt();
    expectTypeOf(message.timestamp).toBeNumber();
    expectTypeOf(message.deliveryCount).toBeNumber();
    expectTypeOf(message.redelivered).toBeBoolean();
    expectTypeOf(message.answered).toBeBoolean();
    expectTypeOf(message.deadLetter).toEqualTypeOf<DeadLetter | undefined>();
    expectTypeOf<DeadLetter["seq"]>().toBeBigInt();
    // @ts-expect-error read-only
    message.body = { id: 1, url: "" };
    // @ts-expect-error read-only
    message.headers.name = "value";
  });

  test("is settled in five ways", () => {
    expectTypeOf(message.ack).parameters.toEqualTypeOf<[]>();
    expectTypeOf(message.ack()).resolves.toBeVoid();
    expectTypeOf(message.nack({ delay: 1, reason: "x" })).resolves.toBeVoid();
    expectTypeOf(message.reject("x")).resolves.toBeVoid();
    expectTypeOf(message.release()).resolves.toBeVoid();
    expectTypeOf(message.extend).parameters.toEqualTypeOf<[ms: number]>();
    // @ts-expect-error a nack has options
    void message.nack("reason");
    // @ts-expect-error how long?
    void message.extend();
    // @ts-expect-error exactOptionalPropertyTypes
    void message.nack({ delay: undefined });
  });

  test("a look at one cannot settle it", () => {
    const [seen] = queue.peek();
    // @ts-expect-error only a delivery has a lease
    seen?.ack();
    // @ts-expect-error only a delivery has a count
    seen?.deliveryCount;
  });
});

describe("receipts and errors", () => {
  test("have seqs that are bigints", () => {
    expectTypeOf<Receipt["seq"]>().toBeBigInt();
    expectTypeOf<Receipt["durability"]>().toEqualTypeOf<Durability>();
    expectTypeOf<BatchReceipt>().toEqualTypeOf<{
      readonly firstSeq: bigint;
      readonly count: number;
      readonly durability: Durability;
    }>();
  });

  test("have codes that can be told apart", () => {
    expectTypeOf<MillraceError>().toExtend<Error>();
    expectTypeOf(new MillraceError("CLOSED", "x").code).toEqualTypeOf<ErrorCode>();
    expectTypeOf<"LEASE_LOST">().toExtend<ErrorCode>();
    expectTypeOf<"OK">().not.toExtend<ErrorCode>();
    // @ts-expect-error no such code
    new MillraceError("OOPS", "x");
  });
});
