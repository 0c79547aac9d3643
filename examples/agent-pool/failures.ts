/** What the person at the keyboard can put right: printed alone, without a stack, with exit code 2. */
export class UsageError extends Error {}

/** Why the job cannot go on; its message says it all. Exit code 1. */
export class JobError extends Error {}
