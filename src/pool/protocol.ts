/** What the owner of a pool and its threads say to each other. Plain data: errors lose their codes on the way. */
import type { MessagePort } from "node:worker_threads";
import type { CodecName } from "../codec.js";
import type { BrokerHandle } from "../engine/binding.js";

export interface WorkerTask {
  readonly handle: BrokerHandle;
  readonly queue: string;
  readonly codec: CodecName;
  readonly module: string;
  readonly concurrency: number;
  readonly prefetch: number;
  readonly data: unknown;
  /** The consumer's count of what its handlers have begun, in memory that the pool shares: see LeaseHolder, H1. */
  readonly started: Float64Array;
  readonly port: MessagePort;
}

export type ToWorker = { readonly type: "close"; readonly timeout: number };

export type FromWorker =
  | { readonly type: "ready" }
  | { readonly type: "error"; readonly code: string | undefined; readonly message: string };
