/** The module of a pool's agent: what it may export, and how its handler is found. */
import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import { types } from "node:util";
import { invalidArgument, MillraceError } from "../errors.js";
import type { HandlerContext, HandlerResult } from "../receive/consumer.js";
import type { Message } from "../receive/message.js";

/** What an agent gets beside the message. `B` is the broker, attached in the agent's thread. */
export interface AgentContext<B = unknown> extends HandlerContext {
  readonly broker: B;
  readonly data: unknown;
}

/** The handler that an agent's module exports as `default` or `handler`. */
export type Agent<T, B = unknown> = (message: Message<T>, context: AgentContext<B>) => HandlerResult;

/** The URL of an agent's module that was given as a URL or an absolute path. */
export function agentUrl(module: unknown): string {
  if (isUrl(module)) {
    if (module.protocol !== "file:")
      throw invalidArgument("the agent's module must be a file: URL or a path");
    return module.href;
  }
  if (typeof module !== "string") throw invalidArgument("the agent's module must be a URL or a path");
  if (module.startsWith("file:")) return module;
  if (!isAbsolute(module)) throw invalidArgument("the path of the agent's module must be absolute");
  return pathToFileURL(module).href;
}

function isUrl(value: unknown): value is URL {
  try {
    return value instanceof URL;
  } catch {
    // A proxy that was revoked, or whose class throws.
    return false;
  }
}

/**
 * The function that a module exports as `default` or `handler`. What `import()` calls the default of a CommonJS module
 * is its `module.exports`, so there both names are looked for once more.
 */
export function handlerOf<B>(loaded: object, module: string): Agent<unknown, B> {
  const exported = loaded as { readonly default?: unknown; readonly handler?: unknown };
  const inner = Object(exported.default) as typeof exported;
  for (const found of [exported.default, exported.handler, inner.default, inner.handler]) {
    if (typeof found !== "function") continue;
    if (types.isGeneratorFunction(found)) {
      throw new MillraceError(
        "POOL_FAILED",
        `${module} exports a generator function, whose lines nobody would run`,
      );
    }
    return found as Agent<unknown, B>;
  }
  throw new MillraceError(
    "POOL_FAILED",
    `${module} exports no function as "default" or "handler"; it exports ${described(exported)}`,
  );
}

function described(exported: object): string {
  const names = Object.entries(exported).map(([name, value]) => `"${name}" (${kindOf(value)})`);
  return names.length === 0 ? "nothing" : names.join(", ");
}

function kindOf(value: unknown): string {
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  const names = Object.keys(value);
  return names.length === 0 ? "an empty object" : `an object with ${names.join(", ")}`;
}
