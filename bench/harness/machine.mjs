// Where the figures were measured.
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

const IN_MEMORY = ["tmpfs", "ramfs"];

/** What a reader needs to judge the figures. `dir` is where the stores lie. */
export function machine(dir) {
  const { type, device, options } = fileSystemOf(dir);
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    fileSystem: `${type} on ${device} (${options})`,
    fileSystemIsMemory: IN_MEMORY.includes(type),
    loadBefore: loadavg()[0],
  };
}

function fileSystemOf(dir) {
  let found = { at: "", type: "unknown", device: "unknown", options: "" };
  for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
    const [device, at, type, options] = line.split(" ");
    if (at === undefined || at.length < found.at.length) continue;
    if (dir === at || dir.startsWith(at.endsWith("/") ? at : `${at}/`)) found = { at, type, device, options };
  }
  return found;
}
