/** The native class behind `Ring` (native/addon/ring_object.cc), as this project calls it. */
export interface NativeRing {
  readonly slots: number;
  readonly slotBytes: number;
  /** Indices of the waiter words in an `Int32Array` over the ring's buffer. */
  readonly messageWaiters: number;
  readonly spaceWaiters: number;

  /** Pushes the first `length` staged bytes: 1, or FULL, CLOSED, TOO_LARGE; WAKE may be added to a count. */
  tryPush(length: number): number;
  /** Pops into `into` or the staging area: the length, or EMPTY, CLOSED, TOO_LARGE. */
  tryPop(into?: Uint8Array): number;
  /** Pushes staged messages, or packed ones: how many, or FULL, CLOSED, TOO_LARGE. */
  tryPushBatch(count: number): number;
  tryPushBatch(packed: Uint8Array, lengths: Uint32Array): number;
  tryPopBatch(count: number): number;
  tryPopBatch(into: Uint8Array, lengths: Uint32Array): number;
  close(): void;
  isClosed(): boolean;
  length(): number;
  /** Whether the side became ready within so many pauses, and one turn of giving the core away. */
  spin(side: number, spins: number, yields: boolean): boolean;
  /** The word to sleep on, or RETRY or SOON. */
  prepareWait(side: number): number;
  release(side: number): void;
}

export interface NativeRingClass {
  new (memory: Uint8Array, staging: Uint8Array, slots?: number, slotBytes?: number): NativeRing;
  /** Added to a count: the caller must notify the other side's waiters. */
  readonly WAKE: number;
  readonly FULL: number;
  readonly EMPTY: number;
  readonly CLOSED: number;
  readonly TOO_LARGE: number;
  readonly RETRY: number;
  readonly SOON: number;
  readonly MESSAGES: number;
  readonly SPACE: number;
  readonly STAGED_MAX: number;
  readonly STAGING_BYTES: number;
}

export interface NativeRingModule {
  Ring: NativeRingClass;
  /** Bytes of memory for such a ring. Throws `OUT_OF_RANGE`. */
  ringSizeFor(slots: number, slotBytes: number): number;
}
