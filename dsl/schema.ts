/**
 * Readers: small functions that take an unknown value and give back clean, frozen, plain data with
 * its defaults filled in, reporting everything that is wrong on the way.
 *
 * A reader builds its result anew from the keys that it knows. Nothing else of the input survives:
 * no functions, getters, prototypes or cycles, whoever wrote the value.
 */
import { nearest, printable, type Problem, show } from "./problem.ts";

/** A place in the recipe, and where its problems are collected. */
export interface At {
  readonly path: string;
  readonly problems: Problem[];
}

/**
 * Reads one value. A reader that reported a problem returns a placeholder which is not a `T`:
 * nobody may look at the result of a reading that has problems (see `sound`).
 */
export type Reader<T> = (value: unknown, at: At) => T;

/** Reports a problem at a place; stands where a reader must return something. */
export function refuse(at: At, expected: string, found: unknown, hint?: string): never {
  return refuseAs(at, expected, show(found), hint);
}

/** Reports a problem with what was found in words of its own. */
export function refuseAs(at: At, expected: string, found: string, hint?: string): never {
  const problem = { path: at.path || "recipe", expected, found };
  at.problems.push(Object.freeze(hint === undefined ? problem : { ...problem, hint }));
  return undefined as never;
}

/** The place one key or index further in: `stages` → `stages[1]` → `stages[1].context`. */
export function inside(at: At, key: string | number): At {
  const { path, problems } = at;
  if (typeof key === "number") return { path: `${path}[${key}]`, problems };
  if (!/^[A-Za-z_$][\w$]{0,63}$/.test(key)) return { path: `${path}[${show(key)}]`, problems };
  return { path: path === "" ? key : `${path}.${key}`, problems };
}

/** Whether these keys of a place were read without a problem, so that a check may look at them. */
export function sound(at: At, ...keys: readonly (string | number)[]): boolean {
  return keys.every((key) => {
    const { path } = inside(at, key);
    const within = (other: string) =>
      other.startsWith(path) && /^$|^[.[]/.test(other.slice(path.length));
    return !at.problems.some((problem) => within(problem.path));
  });
}

/**
 * A reader with a further check of what the keys of an object mean together. The check runs also
 * where some keys have problems, and asks `sound` about those that it looks at.
 */
export function checked<T extends object>(
  read: Reader<T>,
  check: (value: T, at: At) => void,
): Reader<T> {
  return (value, at) => {
    const result = read(value, at);
    if (result !== undefined) check(result, at);
    return result;
  };
}

/** Longest text anywhere in a recipe, in UTF-16 units: paths, globs and prompts fit easily. */
const TEXT_LIMIT = 16_384;

/** Longest list anywhere in a recipe. */
export const LIST_LIMIT = 1_024;

/** Text that is not empty, unless `empty` allows it. */
export function string(what: string, { empty = false } = {}): Reader<string> {
  return (value, at) => {
    if (typeof value !== "string") return refuse(at, what, value);
    if (value === "" && !empty) return refuseAs(at, what, "empty text");
    if (value.length > TEXT_LIMIT) {
      return refuseAs(at, `at most ${TEXT_LIMIT} characters`, `${value.length}`);
    }
    return value;
  };
}

/** Text that names files. Control characters in it would reach terminals and no file has them. */
export function path(what: string): Reader<string> {
  const read = string(what);
  return (value, at) => {
    const text = read(value, at);
    return typeof text === "string" && (printable(text) !== text || text.includes("\n"))
      ? refuse(at, `${what}, without control characters`, text)
      : text;
  };
}

/** A finite number for which `test` holds; `what` says which numbers those are. */
export function number(what: string, test: (value: number) => boolean = () => true) {
  return ((value, at) => {
    if (typeof value !== "number" || !Number.isFinite(value) || !test(value)) {
      return refuse(at, what, value);
    }
    return value === 0 ? 0 : value; // −0 is written as 0 in JSON
  }) satisfies Reader<number>;
}

/** A whole number from `least` to `most`. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER, what?: string) {
  const range = most === Number.MAX_SAFE_INTEGER
    ? `a whole number from ${least}`
    : `a whole number from ${least} to ${most}`;
  return number(what ?? range, (value) => {
    return Number.isSafeInteger(value) && value >= least && value <= most;
  });
}

export const boolean: Reader<boolean> = (value, at) => {
  return typeof value === "boolean" ? value : refuse(at, "true or false", value);
};

/** One of a few words or numbers. */
export function oneOf<const T extends string | number>(...choices: readonly T[]): Reader<T> {
  const what = choices.length === 1
    ? show(choices[0])
    : `${choices.slice(0, -1).map(show).join(", ")} or ${show(choices.at(-1))}`;
  return (value, at) => {
    if (choices.some((choice) => choice === value)) return value as T;
    const near = typeof value === "string" ? nearest(value, choices.map(String)) : undefined;
    return refuse(at, what, value, near && `did you mean ${show(near)}?`);
  };
}

/** A list of at least `least` items, each read alike. */
export function list<T>(read: Reader<T>, what: string, least = 0): Reader<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) return refuse(at, what, value);
    if (value.length < least) return refuse(at, what, value);
    if (value.length > LIST_LIMIT) {
      return refuseAs(at, `at most ${LIST_LIMIT} items`, `${value.length}`);
    }
    return Object.freeze(Array.from(value, (item, index) => read(item, inside(at, index))));
  };
}

/** How one key of an object is read, and what stands there where nobody wrote it. */
export interface Field<T> {
  readonly read: Reader<T>;
  readonly whenAbsent: "refuse" | "omit" | { readonly use: T };
}

/** A key that must be there. */
export const required = <T>(read: Reader<T>): Field<T> => ({ read, whenAbsent: "refuse" });

/** A key with a default. */
export const defaulted = <T>(read: Reader<T>, use: T): Field<T> => ({ read, whenAbsent: { use } });

/** A key that may be absent and then stays so. */
export const optional = <T>(read: Reader<T>): Field<T | undefined> => {
  return { read, whenAbsent: "omit" };
};

export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

/** An object with exactly these keys. A key that is `undefined` counts as absent. */
export function object<T extends object>(what: string, fields: Fields<T>): Reader<T> {
  const known = Object.keys(fields) as (keyof T & string)[];
  return (value, at) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return refuse(at, what, value);
    }
    const given = value as Record<string, unknown>;
    for (const key of Object.keys(given).slice(0, LIST_LIMIT)) {
      if (!Object.hasOwn(fields, key)) refuseKey(inside(at, key), key, known);
    }
    const result: Partial<T> = {};
    for (const key of known) {
      const { read, whenAbsent } = fields[key];
      const item = Object.hasOwn(given, key) ? given[key] : undefined;
      if (item !== undefined) result[key] = read(item, inside(at, key));
      else if (whenAbsent === "refuse") readAbsent(read, inside(at, key));
      else if (whenAbsent !== "omit") result[key] = whenAbsent.use;
    }
    return Object.freeze(result as T);
  };
}

function refuseKey(at: At, key: string, known: readonly string[]): void {
  const near = nearest(key, known);
  const expected = known.length === 0 ? "no keys here" : `one of the keys ${known.join(", ")}`;
  refuseAs(at, expected, "an unknown key", near && `did you mean ${near}?`);
}

/** Lets the reader say what it would have wanted. */
function readAbsent(read: Reader<unknown>, at: At): void {
  const before = at.problems.length;
  read(undefined, at);
  if (at.problems.length === before) refuseAs(at, "a value", "nothing");
}

/**
 * A discriminated union: `kind` says which reader reads the object. The record is exhaustive: a new
 * kind does not compile until its reader is here.
 */
export function tagged<T extends { readonly kind: string }>(
  what: string,
  readers: { readonly [K in T["kind"]]: Reader<Extract<T, { kind: K }>> },
): Reader<T> {
  const kinds = Object.keys(readers) as T["kind"][];
  const readKind = oneOf<string>(...kinds);
  return (value, at) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return refuse(at, what, value);
    }
    const kind = Object.hasOwn(value, "kind") ? (value as { kind: unknown }).kind : undefined;
    const found = kinds.find((candidate) => candidate === kind);
    if (found === undefined) return readKind(kind, inside(at, "kind")) as never;
    return readers[found](value, at);
  };
}
