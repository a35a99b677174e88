/** A task of deno.json as a process of its own, without the shell of `deno task` in between. */

import { fileURLToPath } from "node:url";
import { resolve } from "node:path";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What sets V8's flags before Deno starts. */
const FLAGS = /^DENO_V8_FLAGS=\$\([^)]*\) /;

/** The words after `deno` of a task that only starts Deno, without the flags of V8. */
export function wordsOf(task: string): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(resolve(ROOT, "deno.json")));
  const { command } = tasks[task];
  const [program, ...words] = command.replace(FLAGS, "").replaceAll("'", "").split(" ");
  if (program !== "deno") throw new Error(`the task ${task} does not start Deno: ${command}`);
  return words;
}

/** Starts a task with the permissions that it has in deno.json; output is piped. */
export function startTask(task: string, ...args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [...wordsOf(task), ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}
