/** The main job, `npm start [directory]`: a pool of agents works through real files over durable queues. */
import { MillraceError } from "millrace";
import { differences, plainCount } from "./check.js";
import { makeDataDirectory, removeDataDirectory } from "./data-directory.js";
import { JobError, UsageError } from "./failures.js";
import { countChanged, type InputList, listInput } from "./input.js";
import { EXIT_INTERRUPTED, interruptSignal } from "./interrupt.js";
import { runJob } from "./job.js";
import { continueCommand, HELP, type Options, readArguments } from "./options.js";
import { Progress } from "./progress.js";
import { describeFigures, describeStart, seconds } from "./report.js";
import type { Figures } from "./run.js";

const EXIT_DONE = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

const progress = new Progress(process.stdout);

async function main(): Promise<number> {
  const options = readArguments(process.argv.slice(2));
  if (options === undefined) {
    progress.say(HELP.trimEnd());
    return EXIT_DONE;
  }
  const signal = interruptSignal();
  const list = await listInput(options.directory, signal);
  const data = await makeDataDirectory(options.data);
  let kept = true;
  try {
    progress.say(describeStart(list, options, data));
    const figures = await runJob({ options, list, data, progress, signal });
    if (figures !== undefined) progress.say(`\n${describeFigures(list, figures)}\n`);
    const equal = figures !== undefined && (await check(list, figures, signal));
    if (!equal && signal.aborted) return interrupted(options, data);
    kept = !equal || options.data !== undefined;
    return equal ? EXIT_DONE : EXIT_FAILED;
  } catch (error) {
    // A job that somebody else's data keeps from running left nothing of its own there.
    if (error instanceof UsageError) kept = options.data !== undefined;
    else progress.say(`the data is kept in ${data}`);
    throw error;
  } finally {
    if (!kept) await removeDataDirectory(data);
  }
}

/** The proof that nothing was lost and nothing counted twice. False, with the differences, if something was. */
async function check(list: InputList, figures: Figures, signal: AbortSignal): Promise<boolean> {
  const from = performance.now();
  const plain = await plainCount(list, signal);
  if (plain === undefined) return false;
  const found = differences(figures.tally, plain);
  if (found.length === 0) {
    progress.say(
      `checked: equal to a plain count of the same files in one thread (${seconds(performance.now() - from)})`,
    );
    return true;
  }
  progress.say("checked: NOT equal to a plain count of the same files in one thread");
  for (const line of found) progress.say(`  ${line}`);
  const changed = await countChanged(list);
  if (changed > 0) progress.say(`  files that changed while the job ran: ${changed}`);
  return false;
}

function interrupted(options: Options, data: string): number {
  progress.say(`stopped; what is done is kept in ${data}\nto continue:\n  ${continueCommand(options, data)}`);
  return EXIT_INTERRUPTED;
}

function explain(error: unknown): number {
  progress.clear();
  if (error instanceof UsageError) {
    console.error(`millrace: ${error.message}\n(--help shows what can be given)`);
    return EXIT_USAGE;
  }
  if (error instanceof JobError) console.error(`millrace: ${error.message}`);
  else if (error instanceof MillraceError) console.error(`millrace: ${error.message} (${error.code})`);
  else console.error(error);
  return EXIT_FAILED;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = (error as Error).name === "AbortError" ? EXIT_INTERRUPTED : explain(error);
}
