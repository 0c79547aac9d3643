/** The native tests' executables, and how each has to be started. */
import { build } from "../../setup.mjs";
import { run } from "./running.mjs";

const environments = {
  "": {},
  thread: { TSAN_OPTIONS: "halt_on_error=1 second_deadlock_stack=1" },
  address: {
    ASAN_OPTIONS: "detect_leaks=1 detect_stack_use_after_return=1 strict_string_checks=1",
    UBSAN_OPTIONS: "print_stacktrace=1 halt_on_error=1",
  },
};

/**
 * Builds them if need be.
 *
 * @param {"" | "thread" | "address"} sanitize
 * @returns {Promise<{ command: string[], environment: Record<string, string> }>}
 */
export async function nativeTests(sanitize) {
  const { nativeTest } = await build({ nativeTests: true, sanitize });
  // ThreadSanitizer of GCC 12 refuses to start where the kernel randomises addresses by more than 28 bits.
  const refuses = sanitize === "thread" && !(await run([nativeTest, "--list"], { quiet: true })).ok;
  return {
    command: [...(refuses ? ["setarch", "-R"] : []), nativeTest],
    environment: environments[sanitize],
  };
}
