/** A task of deno.json as a process of its own, without the shell of `deno task` in between. */

import { fileURLToPath } from "node:url";
import { resolve } from "node:path";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The words after `deno` of a task that only starts Deno. */
export function wordsOf(task: string): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(resolve(ROOT, "deno.json")));
  const { command } = tasks[task];
  const [program, ...words] = command.replaceAll("'", "").split(" ");
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
