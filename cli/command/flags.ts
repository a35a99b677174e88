/** Flags of commands, as plain values: what they are called, what they mean, how they are read. */

/** What is wrong with the words of a command line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly problems: readonly string[];

  constructor(problems: string | readonly string[], options?: ErrorOptions) {
    const all = [problems].flat();
    super(all.join("\n"), options);
    this.problems = all;
  }
}

/** One flag of a command; one without a placeholder is a switch. */
export interface Flag<V> {
  /** What stands for the value in the help: `N`. */
  readonly placeholder?: string;
  readonly description: string;
  /** Whether the command cannot do without it. */
  readonly required: boolean;
  /** The value where the flag is not given, and how the help calls it. */
  readonly otherwise: V;
  readonly otherwiseShown?: string;
  /** Reads a value; throws a UsageError that says what was expected. */
  read(text: string): V;
}

/** Flags by name, without the dashes. */
export type Flags = Readonly<Record<string, Flag<unknown>>>;

/** The values of flags. */
export type FlagValues<F extends Flags> = {
  readonly [K in keyof F]: F[K] extends Flag<infer V> ? V : never;
};

/** What flags are where none is given. */
export const defaultsOf = <F extends Flags>(flags: F): FlagValues<F> =>
  Object.fromEntries(
    Object.entries(flags).map(([name, { otherwise }]) => [name, otherwise]),
  ) as FlagValues<F>;

interface Reading<V> {
  readonly placeholder: string;
  readonly description: string;
  read(text: string): V;
}

/** A flag that the command cannot do without. */
export function required<V>({ placeholder, description, read }: Reading<V>): Flag<V> {
  return { placeholder, description, read, required: true, otherwise: undefined as V };
}

/** A flag with a value for where it is not given. */
export function optional<V>(reading: Reading<V>, otherwise: V, shown = String(otherwise)): Flag<V> {
  const { placeholder, description, read } = reading;
  return {
    placeholder,
    description,
    read,
    required: false,
    otherwise,
    otherwiseShown: shown,
  };
}

/** A flag that may be absent; `shown` is what happens then. */
export function absent<V>(reading: Reading<V>, shown: string): Flag<V | undefined> {
  return optional<V | undefined>(reading, undefined, shown);
}

/** A switch, off unless it is given. */
export function toggle(description: string): Flag<boolean> {
  return { description, required: false, otherwise: false, read: () => true };
}

function expected(what: string, text: string): never {
  throw new UsageError(`expected ${what}, found ${text === "" ? "nothing" : JSON.stringify(text)}`);
}

/** Words as `one, two or three`. */
export const either = (words: readonly string[]): string =>
  words.join(", ").replace(/, ([^,]+)$/, " or $1");

/** Any text. */
export function text(placeholder: string, description: string): Reading<string> {
  return { placeholder, description, read: (text) => text };
}

/** The path of a file or folder. */
export function path(placeholder: string, description: string): Reading<string> {
  return {
    placeholder,
    description,
    read: (text) => text === "" ? expected("a path", text) : text,
  };
}

/** A whole number of a range. */
export function whole(
  description: string,
  from: number,
  to = Number.MAX_SAFE_INTEGER,
): Reading<number> {
  const what = to === Number.MAX_SAFE_INTEGER
    ? `a whole number from ${from}`
    : `a whole number from ${from} to ${to}`;
  return {
    placeholder: "N",
    description,
    read: (text) => {
      const value = /^-?\d+$/.test(text) ? Number(text) : NaN;
      return value >= from && value <= to ? value : expected(what, text);
    },
  };
}

/** Whole numbers of a range, with commas between them. */
export function wholes(description: string, from: number, to: number): Reading<readonly number[]> {
  const { read } = whole(description, from, to);
  return { placeholder: "N,…", description, read: (text) => text.split(",").map(read) };
}

/** A number for which `fits` holds; `what` says which those are. */
export function real(
  placeholder: string,
  description: string,
  what: string,
  fits: (value: number) => boolean,
): Reading<number> {
  return {
    placeholder,
    description,
    read: (text) => {
      const value = /^-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : NaN;
      return Number.isFinite(value) && fits(value) ? value : expected(what, text);
    },
  };
}

/** Threads at most: far beyond any machine, and few enough to start. */
const THREAD_LIMIT = 256;

/** A number of threads, one a core where it is absent. */
export function threads(description: string): Flag<number | undefined> {
  return absent(whole(description, 1, THREAD_LIMIT), "one a core");
}

/** Seconds from 0. */
export function seconds(description: string): Reading<number> {
  return real("SECONDS", description, "seconds from 0", (value) => value >= 0);
}

/** Some of a few words, with commas between them. */
export function choices<T extends string>(
  description: string,
  values: readonly T[],
): Reading<readonly T[]> {
  const known = (word: string): T =>
    values.find((value) => value === word) ??
      expected(`${either(values)}, several with commas`, word);
  return {
    placeholder: values.join(","),
    description,
    read: (text) => [...new Set(text.split(",").map(known))],
  };
}

/** One of a few words. */
export function choice<T extends string>(
  description: string,
  values: readonly T[],
): Reading<T> {
  return {
    placeholder: values.join("|"),
    description,
    read: (text) => values.find((value) => value === text) ?? expected(either(values), text),
  };
}
