export { Broker, type BrokerHandle, type BrokerOptions, type BrokerStats } from "./broker.js";
export type { CodecName } from "./codec.js";
export type {
  CloseOptions,
  ConsumeOptions,
  Consumer,
  Handler,
  HandlerContext,
  MessageStream,
  ReceiveOptions,
} from "./consumer.js";
export { type ErrorCode, MillraceError } from "./errors.js";
export type { Headers } from "./headers.js";
export type { DeadLetter, Message, MessageContent, NackOptions } from "./message.js";
export type { Agent, AgentContext, PoolOptions, WorkerPool } from "./pool/worker-pool.js";
export type { BatchReceipt, Durability, Receipt, SendOptions } from "./producer.js";
export type { Queue, QueueOptions, QueueStats } from "./queue.js";
export { Ring, type RingOptions, type RingWaitOptions } from "./ring.js";
