/** Reading the words of a command line by what a command declares. */

import { parseArgs } from "@std/cli";
import { nearest } from "../../dsl/problem.ts";
import { type Flags, type FlagValues, UsageError } from "./flags.ts";

/** What a command declares to be given. */
export interface Declared<A extends string, F extends Flags> {
  /**
   * Descriptions of the arguments without a dash, in their order. The last one may be named with
   * three dots at its end: it takes one word or more; or in brackets: it may be left out.
   */
  readonly arguments: Readonly<Record<A, string>>;
  readonly flags: F;
}

/** The words that arguments are given. */
export type ArgumentValues<A extends string> = {
  readonly [K in A]: K extends `${string}...` ? readonly string[]
    : K extends `[${string}]` ? string | undefined
    : string;
};

/** What a command was given. */
export interface Given<A extends string, F extends Flags> {
  readonly arguments: ArgumentValues<A>;
  readonly flags: FlagValues<F>;
}

/** The words of a command line, sorted. */
interface Words {
  readonly positional: readonly string[];
  /** The flags that are given; undefined for one that lacks its value. */
  readonly flags: ReadonlyMap<string, string | undefined>;
  readonly problems: readonly string[];
}

/**
 * Ties every value to its flag, `--name=value`: a flag with a value takes whatever word follows,
 * be it empty or begin with a dash.
 */
function tied(words: readonly string[], flags: Flags): { words: string[]; problems: string[] } {
  const out: string[] = [];
  const problems: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === "--") {
      out.push(...words.slice(i));
      break;
    }
    const [, name, value] = /^--([^=]+)(=.*)?$/s.exec(word) ?? [];
    const flag = name !== undefined && Object.hasOwn(flags, name) ? flags[name] : undefined;
    if (flag?.placeholder === undefined) {
      if (flag !== undefined && value !== undefined) {
        problems.push(`--${name}: expected no value, found "${value.slice(1)}"`);
      }
      out.push(flag === undefined ? word : `--${name}`);
    } else if (value !== undefined) out.push(word);
    else if (i + 1 < words.length) out.push(`${word}=${words[++i]}`);
    else problems.push(`--${name}: expected ${flag.placeholder} after it, found nothing`);
  }
  return { words: out, problems };
}

/** Sorts words into arguments and flags. */
function sort(words: readonly string[], flags: Flags): Words {
  const entries = Object.entries(flags);
  const withValue = entries.flatMap(([name, flag]) => flag.placeholder === undefined ? [] : [name]);
  const switches = entries.flatMap(([name, flag]) => flag.placeholder === undefined ? [name] : []);
  const { words: whole, problems } = tied(words, flags);
  const parsed = parseArgs(whole, {
    string: [...withValue, "_"],
    boolean: switches,
    unknown: (word, name) => {
      if (name === undefined) return true;
      const meant = nearest(name, Object.keys(flags));
      const hint = meant === undefined ? "" : `; did you mean --${meant}?`;
      problems.push(`there is no flag ${JSON.stringify(word)}${hint}`);
      return false;
    },
  });
  const found = new Map<string, string | undefined>();
  for (const name of withValue) {
    const value = parsed[name];
    if (typeof value === "string") found.set(name, value);
  }
  for (const name of switches) if (parsed[name] === true) found.set(name, "");
  const lacking = words.at(-1)?.replace(/^--/, "");
  if (lacking !== undefined && withValue.includes(lacking) && !found.has(lacking)) {
    found.set(lacking, undefined);
  }
  return { positional: parsed._.map(String), flags: found, problems };
}

/** Whether `--help` or `-h` is among the words, not as the value of another flag. */
export function asksForHelp(words: readonly string[], flags: Flags): boolean {
  return asksFor("help", words.map((word) => word === "-h" ? "--help" : word), flags);
}

/** Whether a switch is among the words, whatever else is wrong with them. */
export function asksFor(name: string, words: readonly string[], flags: Flags): boolean {
  return sort(words, flags).flags.has(name);
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
  names.slice(positional.length).filter((name) => !name.startsWith("[")).forEach((name) =>
    problems.push(`${name}: expected ${declared.arguments[name]}, found nothing`)
  );
  // After a flag that is not known, a further word may be its value.
  const takesAll = names.at(-1)?.endsWith("...") === true;
  const further = unsorted.length > 0 || takesAll ? [] : positional.slice(names.length);
  further.forEach((word) =>
    problems.push(`expected no further argument, found ${JSON.stringify(word)}`)
  );
  const values = Object.entries(declared.flags).map(([name, flag]) => {
    const word = found.get(name);
    if (word === undefined) {
      if (flag.required && !found.has(name)) {
        problems.push(
          `--${name}: expected ${flag.placeholder} (${flag.description}), found nothing`,
        );
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
    arguments: Object.fromEntries(names.map((name, i) => [
      name,
      name.endsWith("...") ? positional.slice(i) : positional[i],
    ])) as ArgumentValues<A>,
    flags: Object.fromEntries(values) as FlagValues<F>,
  };
}
