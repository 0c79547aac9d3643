/**
 * The async context of whoever registered a callback. Callbacks run from wherever a message came in: in the turn of a
 * sender, in the microtask of a handler before them, in an event of the engine.
 */
import { AsyncResource } from "node:async_hooks";

export class Scope {
  /**
   * Makes the resource of one call. Node 20 and 22 write what `AsyncLocalStorage.enterWith` says into the resource that
   * runs, so with one for all calls the next callback would find itself in the context that this one entered. What is
   * not in it, the context included, is read from the prototype, which is the resource of the registration.
   */
  readonly #Call: new () => AsyncResource;

  constructor() {
    // biome-ignore lint/complexity/useArrowFunction: it is called with `new`.
    const Call = function (): void {};
    Call.prototype = new AsyncResource("MillraceConsumer");
    this.#Call = Call as unknown as new () => AsyncResource;
  }

  /** `callback(a, b)`, in the context in which this scope was made. */
  run<A, B, R>(callback: (a: A, b: B) => R, a: A, b: B): R {
    return new this.#Call().runInAsyncScope(callback, undefined, a, b);
  }
}
