/** Something that waits for a unit to be durable. */
export interface Confirmation {
  readonly unit: number;
  /** How many promises hang on it. */
  readonly promises: number;
  confirm(): void;
  fail(error: Error): void;
}
