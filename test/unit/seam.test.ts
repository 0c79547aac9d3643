/**
 * Both sides of the seam between TypeScript and native code: what src/engine/binding.ts says is what the addon has, no
 * name and no argument more or less.
 */
import { readdirSync, readFileSync } from "node:fs";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { binding } from "../../dist/engine/binding.js";
import { port } from "../../dist/engine/loop.js";
import { Session } from "../../dist/engine/session.js";

const root = new URL("../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");

interface Member {
  readonly name: string;
  /** Undefined unless it is a method: its most parameters. */
  readonly parameters: number | undefined;
}

/** The interfaces of a file, by name. */
function interfacesOf(path: string): Map<string, ts.InterfaceDeclaration> {
  const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.ES2022, true);
  const found = source.statements.filter(ts.isInterfaceDeclaration);
  return new Map(found.map((declaration) => [declaration.name.text, declaration]));
}

const seam = interfacesOf("src/engine/binding.ts");

/** The named members of an interface, overloads as one; index signatures have no name. */
function membersOf(name: string, interfaces = seam): Member[] {
  const declaration = interfaces.get(name);
  if (declaration === undefined) throw new Error(`there is no interface ${name}`);
  const members = new Map<string, number | undefined>();
  for (const member of declaration.members) {
    if (ts.isIndexSignatureDeclaration(member)) continue;
    const key = member.name?.getText() ?? "new";
    const method = ts.isMethodSignature(member) || ts.isConstructSignatureDeclaration(member);
    members.set(key, method ? Math.max(members.get(key) ?? 0, member.parameters.length) : undefined);
  }
  return [...members].map(([key, parameters]) => ({ name: key, parameters }));
}

const namesOf = (name: string, interfaces = seam): string[] =>
  membersOf(name, interfaces)
    .map((member) => member.name)
    .filter((member) => member !== "new")
    .sort();

/** Own names of an object and of its class. */
function namesIn(object: object): string[] {
  const names = [
    ...Object.getOwnPropertyNames(object),
    ...Object.getOwnPropertyNames(Object.getPrototypeOf(object)),
  ];
  return [...new Set(names)].filter((name) => name !== "constructor" && !(name in Object.prototype)).sort();
}

/** For each native function: one more than the highest index of an argument that it reads. */
function nativeArities(): Map<string, number> {
  const arities = new Map<string, number>();
  const definition =
    /^(?:\[\[gnu::noinline\]\] )?(?:napi_value|Napi::Value|void) (?:\w+::)?(\w+)\((?:napi_env env, napi_callback_info|const Napi::CallbackInfo&)(?: info)?\) \{(?:\n([\s\S]*?)\n| (.*) )\}/gm;
  for (const file of readdirSync(new URL("native/addon/", root))) {
    for (const [, name = "", lines, line] of read(`native/addon/${file}`).matchAll(definition)) {
      const body = lines ?? line ?? "";
      const indices = [...body.matchAll(/(?:arguments|info)\[(\d)\]/g)].map((found) => Number(found[1]));
      // Read in another way: all at once by Node-API, or handed on to a helper.
      const counted =
        /size_t count = ([1-9]);/.exec(body)?.[1] ??
        (/\bcall\.arguments\)/.test(body) ? /Call<(\d)> call/.exec(body)?.[1] : undefined);
      const arity = Math.max(Number(counted ?? 0), ...indices.map((index) => index + 1));
      arities.set(name, Math.max(arities.get(name) ?? 0, arity));
    }
  }
  return arities;
}

describe("names", () => {
  let session: Session;

  beforeAll(async () => {
    session = await Session.open({
      dir: "",
      sync: false,
      segmentBytes: 1 << 20,
      checkpointBytes: 1 << 20,
      messageBytes: 1,
    });
  });
  afterAll(() => session.detach());

  test("of the exports", () => {
    expect(Object.getOwnPropertyNames(binding).sort()).toEqual(namesOf("NativeBinding"));
  });

  test("of a port", () => {
    // What it keeps because native code has weak references to it.
    expect(namesIn(port).filter((name) => name !== "hooks")).toEqual(namesOf("NativePort"));
  });

  test("of the hooks: each is asked for, and no other", () => {
    const hooks = Object.fromEntries(namesOf("NativeHooks").map((name) => [name, () => new Error(name)]));
    binding.connect(hooks as never);
    for (const name of Object.keys(hooks)) {
      expect(() => binding.connect({ ...hooks, [name]: undefined } as never), name).toThrow();
    }
  });

  test("of a session", () => {
    // It keeps the port in which native code has it.
    expect(namesIn(session.native).filter((name) => name !== "environment")).toEqual(
      namesOf("NativeSession"),
    );
  });

  test("of what a session answers", async () => {
    const { native } = session;
    const settings = native.declare("q", {}, new Float64Array(1));
    const options = Object.keys(binding.queueOptions);
    expect(namesIn(native.handle())).toEqual(namesOf("BrokerHandle"));
    expect(namesIn(native.limits())).toEqual(namesOf("NativeLimits"));
    expect(namesIn(settings)).toEqual([...namesOf("NativeQueueSettings"), ...options].sort());
    expect(namesIn(native.queueStats(settings.id))).toEqual(
      namesOf("QueueStats", interfacesOf("src/queue.ts")),
    );
    expect(namesIn(native.stats())).toEqual(namesOf("BrokerStats", interfacesOf("src/broker.ts")));
  });

  test("of the message layout and the rows of options", () => {
    expect(namesIn(binding.layout)).toEqual(namesOf("MessageLayout"));
    expect(namesIn(binding.queueOptions.capacity as object)).toEqual(namesOf("NativeQueueOption"));
  });

  test("of a ring and its class", () => {
    const memory = (bytes: number): Uint8Array => new Uint8Array(new SharedArrayBuffer(bytes));
    const { STAGING_BYTES, STAGED_MAX } = binding.Ring;
    const staging = memory(STAGING_BYTES + STAGED_MAX * Uint32Array.BYTES_PER_ELEMENT);
    const ring = new binding.Ring(memory(binding.ringSizeFor(2, 8)), staging, 2, 8);
    expect(namesIn(ring)).toEqual(namesOf("NativeRing"));
    expect(Object.keys(binding.Ring).sort()).toEqual(namesOf("NativeRingClass"));
  });
});

describe("arguments", () => {
  const arities = nativeArities();
  /** Where the C++ function has a name of its own. */
  const functions: Readonly<Record<string, string>> = {
    new: "construct",
    open: "openBroker",
    attach: "attachBroker",
  };
  const methods = ["NativeBinding", "NativePort", "NativeSession", "NativeRing", "NativeRingClass"].flatMap(
    (owner) =>
      membersOf(owner).flatMap(({ name, parameters }) =>
        parameters === undefined ? [] : [[`${owner}.${name}`, functions[name] ?? name, parameters] as const],
      ),
  );

  test("there are methods to compare", () => {
    expect(methods.length).toBeGreaterThan(40);
  });

  test.each(methods)("%s", (_, name, parameters) => {
    expect(arities.get(name)).toBe(parameters);
  });
});
