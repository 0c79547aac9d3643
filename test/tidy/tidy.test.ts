// The part of the project's style that a machine can check. A rule here has its reason beside it; an exception
// is an entry in a list with its own.
import { describe, expect, test } from "vitest";
import {
  importsOf,
  includesOf,
  projectFiles,
  resolveImport,
  type Source,
  sourcesUnder,
  withoutComments,
} from "./sources.js";

const native = sourcesUnder("native", /\.(h|cc)$/);
const typescript = sourcesUnder("src", /\.ts$/);
const files = projectFiles();

/** "path: what" for everything that `findings` reports; a test expects none. */
function report(sources: Source[], findings: (source: Source) => string[]): string[] {
  return sources.flatMap((source) => findings(source).map((finding) => `${source.path}: ${finding}`));
}

function folderOf({ path }: Source): string {
  return String(path.split("/")[1]);
}

test("there is something to look at", () => {
  expect(native.length).toBeGreaterThan(5);
  expect(typescript.length).toBeGreaterThan(0);
});

describe("native layers", () => {
  // Each folder and the folders it may include. ring, log and ledger never see each other.
  const mayInclude: Record<string, readonly string[]> = {
    base: [],
    os: ["base"],
    ring: ["base"],
    ledger: ["base"],
    log: ["base", "os"],
    engine: ["base", "os", "ring", "log", "ledger"],
    addon: ["base", "os", "ring", "log", "ledger", "engine"],
  };

  test("every folder is a layer of the design", () => {
    expect(
      report(native, (source) => (folderOf(source) in mayInclude ? [] : ["a folder without a layer"])),
    ).toEqual([]);
  });

  test("includes point downwards only", () => {
    const findings = report(native, (source) => {
      const own = folderOf(source);
      return includesOf(source)
        .map((name) => String(name.split("/")[0]))
        .filter((layer) => layer in mayInclude && layer !== own && !mayInclude[own]?.includes(layer))
        .map((layer) => `${own} includes ${layer}`);
    });
    expect(findings).toEqual([]);
  });

  test("our own headers are included by their path from native/, so that the layer is visible", () => {
    expect(report(native, (source) => includesOf(source).filter((name) => name.startsWith(".")))).toEqual([]);
  });

  test("includes have no cycle", () => {
    const graph = new Map(
      native.map((source) => [
        source.path,
        includesOf(source)
          .map((name) => `native/${name}`)
          .filter((path) => native.some((other) => other.path === path)),
      ]),
    );
    expect(cycleIn(graph)).toEqual([]);
  });

  test("only addon sees Node-API", () => {
    const findings = report(native, (source) =>
      folderOf(source) === "addon"
        ? []
        : includesOf(source).filter((name) => /^(napi|node_api|node|uv|v8|js_native_api)\b/.test(name)),
    );
    expect(findings).toEqual([]);
  });

  test("only os makes system calls", () => {
    // <filesystem> and <fstream> are system calls in disguise: no simulated disk could stand behind them.
    const headers =
      /^(unistd|fcntl|poll|sched|signal|dirent|pthread|spawn|syscall)\.h$|^(sys|linux)\/|^(filesystem|fstream|csignal)$/;
    // "file includes header": why.
    const allowed: readonly string[] = [];
    const findings = report(native, (source) =>
      folderOf(source) === "os" ? [] : includesOf(source).filter((name) => headers.test(name)),
    );
    expect(findings.filter((finding) => !allowed.includes(finding))).toEqual([]);
  });

  test("only base/shared_atomic.h spells an atomic on memory it does not own", () => {
    const findings = report(native, ({ path, text }) =>
      path === "native/base/shared_atomic.h" ||
      !/\batomic_ref\b|__atomic_|__sync_/.test(withoutComments(text))
        ? []
        : ["use base/shared_atomic.h"],
    );
    expect(findings).toEqual([]);
  });

  test("no volatile, no raw new, no assert()", () => {
    const findings = report(native, ({ text }) => {
      const code = withoutComments(text).replace(/"(?:[^"\\\n]|\\.)*"/g, '""');
      const found = [];
      // `asm volatile` is something else: an instruction that must not be moved.
      if (/(?<!asm )(?<!__asm__ )\bvolatile\b/.test(code)) found.push("volatile");
      // A private constructor leaves no other way than handing the result to its owner at once.
      if (/(?<!_ptr<[\w:<>, ]*>\s*\w*\(\s*)(?<!operator )\bnew\s+[A-Z][\w:<>]*\s*[({]/.test(code))
        found.push("raw new");
      if (/(?<!static_)\bassert\s*\(/.test(code)) found.push("assert(): use MILLRACE_CHECK");
      return found;
    });
    expect(findings).toEqual([]);
  });

  test("a header begins with its purpose and is included once", () => {
    const headers = native.filter(({ path }) => path.endsWith(".h"));
    const findings = report(headers, ({ text }) => [
      ...(text.startsWith("//") || text.startsWith("/*") ? [] : ["no comment at the top"]),
      ...(/^#pragma once$/m.test(text) ? [] : ["no #pragma once"]),
    ]);
    expect(findings).toEqual([]);
  });
});

describe("TypeScript layers", () => {
  // A file may import files of its own layer and below. engine speaks to the addon, send and receive are the two
  // sides of a queue, pool has the threads; what people call stands above them.
  const layers: readonly RegExp[] = [
    /^src\/(errors|options|bytes|codec|headers|signals|closing|engine\/(addon|binding|loop))\.ts$/,
    /^src\/engine\//,
    /^src\/(send\/|receive\/|(ring|broker-options|queue-options)\.ts$)/,
    /^src\/pool\/(?!worker\.ts)/,
    /^src\/queue\.ts$/,
    /^src\/broker\.ts$/,
    /^src\/index\.ts$/,
    // What a worker thread starts: it uses the library as its users do.
    /^src\/pool\/worker\.ts$/,
  ];
  const layerOf = (path: string) => layers.findIndex((pattern) => pattern.test(path));
  const relative = (source: Source) => importsOf(source).filter((name) => name.startsWith("."));

  test("every relative import is a file of src", () => {
    const known = new Set(typescript.map(({ path }) => path));
    const findings = report(typescript, (source) =>
      relative(source)
        .map((name) => resolveImport(source, name))
        .filter((path) => !known.has(path)),
    );
    expect(findings).toEqual([]);
  });

  test("imports point downwards only", () => {
    const findings = report(typescript, (source) =>
      relative(source)
        .map((name) => resolveImport(source, name))
        .filter((path) => layerOf(path) > layerOf(source.path))
        .map((path) => `imports ${path}, which stands above it`),
    );
    expect(findings).toEqual([]);
  });

  test("every file has its layer", () => {
    expect(report(typescript, ({ path }) => (layerOf(path) < 0 ? ["none"] : []))).toEqual([]);
  });

  test("imports have no cycle, those of types included: what needs a type of its user says so itself", () => {
    const graph = new Map(
      typescript.map((source) => [source.path, relative(source).map((name) => resolveImport(source, name))]),
    );
    expect(cycleIn(graph)).toEqual([]);
  });

  test("examples import the package by its name, as their readers will", () => {
    const examples = sourcesUnder("examples", /\.ts$/);
    expect(examples.length).toBeGreaterThan(0);
    const known = new Set(examples.map(({ path }) => path));
    const findings = report(examples, (source) =>
      relative(source)
        .map((name) => resolveImport(source, name))
        .filter((path) => !known.has(path)),
    );
    expect(findings).toEqual([]);
  });

  test("only engine/addon.ts loads the addon", () => {
    const findings = report(typescript, ({ path, text }) =>
      path !== "src/engine/addon.ts" &&
      /\.node["'`]|createRequire|process\.dlopen/.test(withoutComments(text))
        ? ["loads native code"]
        : [],
    );
    expect(findings).toEqual([]);
  });

  test("nothing but a promise job, a native turn and the native clock decides when something happens", () => {
    // User code may replace all of these (a test's frozen clock does): use src/engine/loop.ts.
    const replaceable =
      /\b(?:setTimeout|setInterval|setImmediate|clearTimeout|clearInterval|clearImmediate|queueMicrotask|performance|hrtime)\b|\bnextTick\b|\bDate\b|AbortSignal\.timeout|node:timers/;
    const findings = report(typescript, ({ text }) =>
      replaceable.test(withoutComments(text)) ? [String(replaceable.exec(withoutComments(text))?.[0])] : [],
    );
    expect(findings).toEqual([]);
  });

  test("the version that binding.ts asks the addon for is the package's", () => {
    const { version } = JSON.parse(files.find(({ path }) => path === "package.json")?.text ?? "{}");
    const binding = typescript.find(({ path }) => path === "src/engine/binding.ts")?.text ?? "";
    expect(/^const VERSION = "([^"]+)";$/m.exec(binding)?.[1]).toBe(version);
  });

  test("only src/pool imports piscina", () => {
    const findings = report(typescript, (source) =>
      source.path.startsWith("src/pool/") ? [] : importsOf(source).filter((name) => name === "piscina"),
    );
    expect(findings).toEqual([]);
  });

  test("packages that src imports are dependencies that users get", () => {
    const manifest = JSON.parse(files.find(({ path }) => path === "package.json")?.text ?? "{}");
    const findings = report(typescript, (source) =>
      importsOf(source).filter(
        (name) => !name.startsWith(".") && !name.startsWith("node:") && !(name in manifest.dependencies),
      ),
    );
    expect(findings).toEqual([]);
  });

  test("no default exports", () => {
    expect(
      report(typescript, ({ text }) =>
        /^export default\b|\bas default\b/m.test(withoutComments(text)) ? ["default export"] : [],
      ),
    ).toEqual([]);
  });

  test("file names are kebab-case", () => {
    expect(report(typescript, ({ path }) => (/^src\/[a-z0-9/.-]+$/.test(path) ? [] : ["name"]))).toEqual([]);
  });
});

describe("errors", () => {
  test("a code that TypeScript spells is a code of native/base/status", () => {
    const names = files.find(({ path }) => path === "native/base/status.cc")?.text ?? "";
    const codes = new Set([...names.matchAll(/return "([A-Z_]+)";/g)].map((found) => found[1]));
    // What only TypeScript can meet: the addon's absence, codecs and pools.
    for (const code of ["ADDON_FAILED", "CODEC_FAILED", "POOL_FAILED"]) codes.add(code);
    expect(codes.size).toBeGreaterThan(10);
    const spelled = /(?:MillraceError\(|fail\(|\bcode:|\.code\s*[!=]==?)\s*"([A-Z][A-Z_]+)"/g;
    const findings = report(typescript, ({ text }) =>
      [...withoutComments(text).matchAll(spelled)]
        .map((found) => String(found[1]))
        // Node's own codes (ERR_..., ENOENT) are not ours.
        .filter((code) => !codes.has(code) && !/^ERR_|^E[A-Z]+$/.test(code)),
    );
    expect(findings).toEqual([]);
  });
});

describe("every file", () => {
  test("can be held in mind: most under 250 lines, none over 400", () => {
    // path: why it is longer.
    const longer: Record<string, string> = {};
    const ours = [...native, ...typescript];
    expect(
      report(ours, ({ path, lines }) => (lines > 400 && !(path in longer) ? [`${lines} lines`] : [])),
    ).toEqual([]);
    const short = ours.filter(({ lines }) => lines <= 250).length;
    expect(short / ours.length).toBeGreaterThan(0.7);
    // An exception that is no longer needed is removed.
    expect(
      Object.keys(longer).filter((path) => !ours.some((file) => file.path === path && file.lines > 400)),
    ).toEqual([]);
  });

  test("is finished: nothing left to do is marked in the code", () => {
    const marks = new RegExp(
      `\\b(${["TO", "FIX", "XX"].map((half, i) => half + ["DO", "ME", "X"][i]).join("|")})\\b`,
    );
    expect(report(files, ({ text }) => (marks.test(text) ? [String(marks.exec(text)?.[0])] : []))).toEqual(
      [],
    );
  });

  test("names no folder of one machine", () => {
    const places = /(?<![\w.~*-])\/(?:work|home|root|Users)\/[\w.-]+/;
    expect(report(files, ({ text }) => (places.test(text) ? [String(places.exec(text)?.[0])] : []))).toEqual(
      [],
    );
  });

  test("names no package registry: which one is used is the user's setting", () => {
    const hosts = /\bregistry\.[a-z]+\.(?:org|com)\b|\b(?:deb|archive)\.[a-z]+\.(?:org|com)\b|"resolved":/;
    const own = "test/tidy/tidy.test.ts";
    const findings = report(files, ({ path, text }) =>
      path !== own && hosts.test(text) ? [String(hosts.exec(text)?.[0])] : [],
    );
    expect(findings).toEqual([]);
  });

  test("ends with one newline, without blanks at line ends", () => {
    const text = files.filter(({ path }) => /\.(ts|mjs|js|h|cc|gyp|json)$/.test(path));
    expect(report(text, (file) => (/[^\n]\n$/.test(file.text) ? [] : ["end of file"]))).toEqual([]);
    expect(report(text, (file) => (/[ \t]$/m.test(file.text) ? ["blanks at a line end"] : []))).toEqual([]);
  });
});

/** One cycle of a graph of names, as the path that closes it; empty when there is none. */
function cycleIn(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): string[] => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
    if (done.has(name)) return [];
    for (const next of graph.get(name) ?? []) {
      const cycle = visit(next, [...path, name]);
      if (cycle.length > 0) return cycle;
    }
    done.add(name);
    return [];
  };
  for (const name of graph.keys()) {
    const cycle = visit(name, []);
    if (cycle.length > 0) return cycle;
  }
  return [];
}
