/** Command lines as somebody could type them again. */

import type { Flag, Flags, FlagValues } from "./flags.ts";

/** A command with its words and the flags that are not as they would be anyway. */
export function commandLine<F extends Flags>(
  command: string,
  words: readonly string[],
  flags: F,
  values: FlagValues<F>,
): string {
  const given = Object.entries(flags).flatMap(([name, { otherwise, placeholder }]) => {
    const value = values[name];
    if (value === otherwise) return [];
    return placeholder === undefined ? [`--${name}`] : [`--${name}`, `${value}`];
  });
  return [`deno task ${command}`, ...[...words, ...given].map(shellWord)].join(" ");
}

/** The command line that goes on with what was stopped: the same, and `--resume`. */
export function resumeCommand<F extends Flags & { readonly resume: Flag<boolean> }>(
  command: string,
  words: readonly string[],
  flags: F,
  values: FlagValues<F>,
): string {
  return `${commandLine(command, words, flags, { ...values, resume: false })} --resume`;
}

const shellWord = (word: string) =>
  /^[\w./:=@+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
