/** Running a task of deno.json, with the permissions that it has there. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What a task did. */
export interface TaskResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program in the repository, with these variables besides those of the test. */
export async function outputOf(
  command: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<TaskResult> {
  const process = new Deno.Command(command, {
    args: [...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...variables },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const { code, stdout, stderr } = await process.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

const words = (name: string, args: readonly string[]) => ["task", "--quiet", name, ...args];

/** Runs `deno task NAME ARGS` in the repository. */
export function runTask(name: string, ...args: readonly string[]): Promise<TaskResult> {
  return outputOf(Deno.execPath(), words(name, args));
}

/** The same with variables of the environment. */
export function runTaskWith(
  variables: Readonly<Record<string, string>>,
  name: string,
  ...args: readonly string[]
): Promise<TaskResult> {
  return outputOf(Deno.execPath(), words(name, args), variables);
}

/**
 * The same with a disk of some kilobytes mounted on a folder, which only the task sees. Prints the
 * folder's files at the end of stdout.
 */
export async function runTaskOnSmallDisk(
  folder: string,
  kilobytes: number,
  name: string,
  ...args: readonly string[]
): Promise<TaskResult> {
  const mounted = `mount -t tmpfs -o size=${kilobytes}k none "$0" || exit 99
    "$@"; code=$?; ls -A "$0"; exit $code`;
  // Whoever is not root may mount in a namespace where he is.
  const apart = `if unshare -m true 2>/dev/null; then own=-m; else own=-rm; fi
    exec unshare $own "$@"`;
  const command = ["sh", "-c", mounted, folder, Deno.execPath(), ...words(name, args)];
  const result = await outputOf("sh", ["-c", apart, "sh", ...command]);
  assert(result.code !== 99, `no small disk could be mounted: ${result.stderr}`);
  return result;
}

/** Fails unless bad input gave one clear error, exit code 2, and nothing on stdout. */
export function assertRefused(result: TaskResult, ...expected: readonly (string | RegExp)[]): void {
  const { code, stdout, stderr } = result;
  assertEquals({ code, stdout }, { code: 2, stdout: "" }, stderr);
  for (const part of expected) {
    if (typeof part === "string") assert(stderr.includes(part), `${stderr}lacks: ${part}`);
    else assertMatch(stderr, part);
  }
  assert(!/\n\s+at .*:\d+/.test(stderr), `a stack is for bugs: ${stderr}`);
}

/** Fails unless stdout is one JSON object; returns it. */
// deno-lint-ignore no-explicit-any
export function jsonOf({ code, stdout, stderr }: TaskResult, expectedCode = 0): any {
  assertEquals(code, expectedCode, stderr);
  const value = JSON.parse(stdout);
  assert(typeof value === "object" && value !== null && !Array.isArray(value));
  return value;
}
