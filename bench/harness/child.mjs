// Runs one question in a process of its own, so that it meets neither the heap nor the compiled code of another.
import { exit } from "node:process";

process.once("message", async ({ file, options }) => {
  try {
    const { run } = await import(file);
    const rows = await run(options);
    process.send({ rows }, () => exit(0));
  } catch (error) {
    process.send({ error: error.stack ?? String(error) }, () => exit(1));
  }
});
