/** Reading the keys of a config.json: each with its type and default, all problems noted. */
import { FormatError, type Problem, quote, show } from "../error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";

/** No width, length or vocabulary is larger; a number beyond it is damage, or malice. */
const SIZE_LIMIT = 2 ** 31 - 1;

/**
 * The keys of one JSON object. A reader returns a placeholder where a value is wrong, so that the
 * rest is checked too; `finish` then throws. `null` counts as absent, as Python writes None.
 */
export class Fields {
  readonly json: JsonObject;
  readonly file: string;
  readonly #at: string;
  readonly #problems: Problem[];

  /**
   * @param at the key that holds this object, if it is not the file's top
   * @param problems where to note them; those of the object that holds this one
   */
  constructor(json: JsonObject, file: string, at = "", problems: Problem[] = []) {
    this.json = json;
    this.file = file;
    this.#at = at;
    this.#problems = problems;
  }

  /** Notes that a key has not what was expected; the first problem of a key is the one that counts. */
  problem(key: string, expected: string, advice?: string): void {
    const at = this.#at === "" ? key : `${this.#at}.${key}`;
    if (this.#problems.some((problem) => problem.at === at)) return;
    const found = show(this.json[key]);
    this.#problems.push({ file: this.file, at, expected, found, advice });
  }

  /** @throws FormatError with everything that was noted. */
  finish(): void {
    if (this.#problems.length > 0) throw new FormatError(this.#problems);
  }

  /** Whether the key is there with a value. */
  has(key: string): boolean {
    return this.#value(key) !== undefined;
  }

  /** A positive integer up to `limit`. */
  size(key: string, fallback?: number, limit = SIZE_LIMIT): number {
    return this.#read(
      key,
      `a positive integer${limit === SIZE_LIMIT ? "" : ` up to ${limit}`}`,
      1,
      fallback,
      (value) => isInteger(value, 1) && value <= limit,
    );
  }

  /** A non-negative integer. */
  count(key: string, fallback?: number): number {
    return this.#read(key, "a non-negative integer", 0, fallback, (value) => isInteger(value, 0));
  }

  /** A positive number. */
  positive(key: string, fallback?: number): number {
    return this.#read(
      key,
      "a positive number",
      1,
      fallback,
      (value) => typeof value === "number" && Number.isFinite(value) && value > 0,
    );
  }

  /** true or false. */
  flag(key: string, fallback?: boolean): boolean {
    return this.#read(key, "true or false", false, fallback, (v) => typeof v === "boolean");
  }

  /** One of the values. */
  oneOf<T extends string | number>(
    key: string,
    values: readonly T[],
    fallback?: T,
    advice?: string,
  ): T {
    const expected = `one of ${values.map(show).join(", ")}`;
    return this.#read(key, expected, values[0], fallback, (v) => values.includes(v as T), advice);
  }

  /** A token id, if there is one. */
  id(key: string): number | null {
    return this.has(key) ? this.count(key) : null;
  }

  /** Token ids: one, several, or none. */
  ids(key: string): readonly number[] {
    const value = this.#value(key);
    const list = value === undefined ? [] : Array.isArray(value) ? value : [value];
    if (list.every((item) => isInteger(item, 0))) return [...list];
    this.problem(key, "a token id or a list of them");
    return [];
  }

  /** An object within this one, if there is one. */
  object(key: string): Fields | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    if (isJsonObject(value)) return new Fields(value, this.file, key, this.#problems);
    this.problem(key, "an object");
    return undefined;
  }

  #value(key: string): unknown {
    return Object.hasOwn(this.json, key) ? this.json[key] ?? undefined : undefined;
  }

  #read<T>(
    key: string,
    expected: string,
    placeholder: T,
    fallback: T | undefined,
    fits: (value: unknown) => boolean,
    advice?: string,
  ): T {
    const value = this.#value(key) ?? fallback;
    if (value !== undefined && fits(value)) return value as T;
    this.problem(key, expected, advice);
    return placeholder;
  }
}

function isInteger(value: unknown, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

/** The object at the top of a file's JSON. @throws FormatError where it is something else. */
export function topFields(json: unknown, file: string): Fields {
  if (isJsonObject(json)) return new Fields(json, file);
  const found = typeof json === "string" ? quote(json) : show(json);
  throw new FormatError({ file, expected: "a JSON object", found });
}
