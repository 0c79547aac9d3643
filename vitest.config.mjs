// The TypeScript tests. They import "millrace", the compiled package in dist/, so that what is tested is what
// is shipped (and worker threads, which cannot load TypeScript, run the same files). `npm test` compiles first.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const dist = fileURLToPath(new URL("./dist/", import.meta.url));

export default defineConfig({
  resolve: { alias: [{ find: /^millrace$/, replacement: `${dist}index.js` }] },
  test: {
    include: ["test/**/*.test.ts"],
    // Compiled files run as Node runs them, not transformed.
    server: { deps: { external: [/\/dist\//] } },
    // A process of its own for each file: a test may load the addon, kill threads and count descriptors.
    pool: "forks",
    // One at a time: on two cores, tests that measure time must not compete with each other.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    typecheck: {
      enabled: true,
      include: ["test/types/**/*.test-d.ts"],
      tsconfig: "./test/tsconfig.json",
    },
  },
});
