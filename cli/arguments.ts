/** Reading the words of a command line by what a command declares. */

import { nearest } from "../dsl/problem.ts";
import { type Flags, type FlagValues, UsageError } from "./flags.ts";

/** What a command declares to be given. */
export interface Declared<A extends string, F extends Flags> {
  /** Descriptions of the arguments without a dash, in their order. */
  readonly arguments: Readonly<Record<A, string>>;
  readonly flags: F;
}

/** What a command was given. */
export interface Given<A extends string, F extends Flags> {
  readonly arguments: Readonly<Record<A, string>>;
  readonly flags: FlagValues<F>;
}

/** The words of a command line, sorted. */
interface Words {
  readonly positional: readonly string[];
  /** The flags that are given; undefined for one that lacks its value. */
  readonly flags: ReadonlyMap<string, string | undefined>;
  readonly problems: readonly string[];
}

/** `--name value`, `--name=value`, `--switch`; a flag with a value takes whatever word follows. */
function sort(words: readonly string[], flags: Flags): Words {
  const positional: string[] = [];
  const found = new Map<string, string | undefined>();
  const problems: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === "--") {
      positional.push(...words.slice(i + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      positional.push(word);
      continue;
    }
    const [, name, value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    const flag = name !== undefined && Object.hasOwn(flags, name) ? flags[name] : undefined;
    if (name === undefined || flag === undefined) {
      const meant = nearest(name ?? word.replace(/^-+/, ""), Object.keys(flags));
      const hint = meant === undefined ? "" : `; did you mean --${meant}?`;
      problems.push(`there is no flag ${JSON.stringify(word)}${hint}`);
    } else if (flag.placeholder === undefined) {
      if (value !== undefined) problems.push(`--${name}: expected no value, found "${value}"`);
      found.set(name, "");
    } else if (value !== undefined) {
      found.set(name, value);
    } else if (i + 1 < words.length) {
      found.set(name, words[++i]);
    } else {
      problems.push(`--${name}: expected ${flag.placeholder} after it, found nothing`);
      found.set(name, undefined);
    }
  }
  return { positional, flags: found, problems };
}

/** Whether `--help` or `-h` is among the words, not as the value of another flag. */
export function asksForHelp(words: readonly string[], flags: Flags): boolean {
  const known = words.map((word) => word === "-h" ? "--help" : word);
  return sort(known, flags).flags.has("help");
}

/**
 * Reads a command line.
 * @throws UsageError with everything that is wrong with it.
 */
export function readArguments<A extends string, F extends Flags>(
  words: readonly string[],
  declared: Declared<A, F>,
): Given<A, F> {
  const { positional, flags: found, problems: unsorted } = sort(words, declared.flags);
  const problems = [...unsorted];
  const names = Object.keys(declared.arguments) as A[];
  names.slice(positional.length).forEach((name) =>
    problems.push(`${name}: expected ${declared.arguments[name]}, found nothing`)
  );
  // After a flag that is not known, a further word may be its value.
  const further = unsorted.length === 0 ? positional.slice(names.length) : [];
  further.forEach((word) =>
    problems.push(`expected no further argument, found ${JSON.stringify(word)}`)
  );
  const values = Object.entries(declared.flags).map(([name, flag]) => {
    const word = found.get(name);
    if (word === undefined) {
      if (flag.required && !found.has(name)) {
        problems.push(`--${name}: expected ${flag.description}, found nothing`);
      }
      return [name, flag.otherwise];
    }
    try {
      return [name, flag.read(word)];
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      problems.push(`--${name}: ${error.message}`);
      return [name, flag.otherwise];
    }
  });
  if (problems.length > 0) throw new UsageError(problems);
  return {
    arguments: Object.fromEntries(names.map((name, i) => [name, positional[i]])) as Record<
      A,
      string
    >,
    flags: Object.fromEntries(values) as FlagValues<F>,
  };
}
