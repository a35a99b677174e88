/** The command line that goes on with what was stopped. */

import type { Flags, FlagValues } from "./flags.ts";

/** The same words and flags, and `--resume`. */
export function resumeCommand<F extends Flags>(
  command: string,
  words: readonly string[],
  flags: F,
  values: FlagValues<F>,
): string {
  const given = Object.entries(flags).flatMap(([name, { otherwise, placeholder }]) => {
    const value = values[name];
    if (name === "resume" || value === otherwise) return [];
    return placeholder === undefined ? [`--${name}`] : [`--${name}`, `${value}`];
  });
  return [`deno task ${command}`, ...[...words, ...given, "--resume"].map(shellWord)].join(" ");
}

const shellWord = (word: string) =>
  /^[\w./:=@+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
