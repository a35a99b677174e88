/**
 * `parseArgs` as `@std/cli` has it, for flat flag names (no `--a.b`). Same options, same result: the
 * import map can point to jsr:@std/cli instead. It does not lean on `node:util`'s `parseArgs`, which
 * takes the next argument as a flag's value even where that is a flag itself.
 */

/** What `parseArgs` gives back for the declared flags. */
export type Args<
  B extends string = never,
  S extends string = never,
  C extends string = never,
  N extends string = never,
  D extends Record<string, unknown> = Record<never, never>,
  DD extends boolean = false,
> =
  & { [key: string]: unknown; _: Array<string | number> }
  & Flags<Declared<B>, Declared<S>, Declared<C>, N, D>
  & (DD extends true ? { "--": string[] } : unknown);

type Flags<B extends string, S extends string, C extends string, N extends string, D> =
  & { [K in Exclude<B, C | keyof D>]: boolean }
  & { [K in Exclude<B, C> & keyof D]: boolean | D[K] }
  & { [K in Extract<B, C>]: boolean[] }
  & { [K in Exclude<S, C | keyof D>]?: string | NegatedValue<K, N> }
  & { [K in Exclude<S, C> & keyof D]: string | NegatedValue<K, N> | D[K] }
  & { [K in Extract<S, C>]: string[] | NegatedValue<K, N> }
  & { [K in Exclude<C, B | S>]: unknown[] | NegatedValue<K, N> }
  & { [K in Exclude<keyof D, B | S | C>]: unknown };

/** The names that a type lists: none where it is any text; `_` stands for no flag. */
type Declared<T extends string> = string extends T ? never : Exclude<T, "_">;

type NegatedValue<K extends string, N extends string> = K extends N ? false : never;

/** How the arguments are to be read. */
export interface ParseOptions<
  B extends string = string,
  S extends string = string,
  C extends string = string,
  N extends string = string,
  D extends Record<string, unknown> = Record<string, unknown>,
  DD extends boolean = boolean,
> {
  /** Whether what follows `--` goes to the result's `--` rather than to its `_`. */
  readonly "--"?: DD;
  /** Other names of a flag; each name gets the value in the result. */
  readonly alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Flags without a value, false by default; `true` makes every bare `--flag` one. */
  readonly boolean?: boolean | B | readonly B[];
  /** Values of the flags that are not given. */
  readonly default?: D;
  /** Whether the first argument that is no flag ends the flags. */
  readonly stopEarly?: boolean;
  /** Flags whose value stays text, also where it looks like a number. `_` for the positional ones. */
  readonly string?: S | readonly S[];
  /** Flags that may be repeated: their values are collected into a list. */
  readonly collect?: C | readonly C[];
  /** Flags that `--no-flag` sets to false. */
  readonly negatable?: N | readonly N[];
  /** Called for each argument that no option declares; `false` leaves it out of the result. */
  readonly unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

const NUMBER = /^(?:0x[0-9a-f]+|[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)$/i;

/** A text that looks like a number becomes one. */
function typed(text: string): string | number {
  return NUMBER.test(text) ? Number(text) : text;
}

function listed<T extends string>(names: T | readonly T[] | boolean | undefined): readonly T[] {
  if (names === undefined || typeof names === "boolean") return [];
  return typeof names === "string" ? [names] : names;
}

/** Which names belong together: each name with all the others of its flag. */
function aliasGroups(alias: ParseOptions["alias"] = {}): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [name, others] of Object.entries(alias)) {
    const group = [name, ...listed(others)];
    for (const member of group) groups.set(member, group.filter((other) => other !== member));
  }
  return groups;
}

/**
 * Reads command line arguments: `--flag value`, `--flag=value`, `--flag`, `--no-flag` where it is
 * negatable, `-f value`, `-f=value`, `-abc`. What is no flag goes to `_`, as does all after `--`
 * unless the option `--` is set. Undeclared values that look like numbers become numbers.
 */
export function parseArgs<
  B extends string = never,
  S extends string = never,
  C extends string = never,
  N extends string = never,
  D extends Record<string, unknown> = Record<never, never>,
  DD extends boolean = false,
>(
  args: readonly string[],
  options: ParseOptions<B, S, C, N, D, DD> = {},
): Args<B, S, C, N, D, DD> {
  const groups = aliasGroups(options.alias);
  const setOf = (names: Parameters<typeof listed>[0]) =>
    new Set(listed(names).flatMap((name) => [name, ...groups.get(name) ?? []]));
  const booleans = setOf(options.boolean);
  const strings = setOf(options.string);
  const collects = setOf(options.collect);
  const negatables = setOf(options.negatable);
  const allBooleans = options.boolean === true;

  const result: Record<string, unknown> & { _: Array<string | number> } = { _: [] };

  function put(key: string, value: unknown, collect: boolean): void {
    const old = Object.hasOwn(result, key) ? result[key] : undefined;
    const next = !collect ? value : Array.isArray(old) ? [...old, value] : [value];
    Object.defineProperty(result, key, {
      value: next,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }

  function set(key: string, value: string | boolean, arg: string, collect = true): void {
    const declared = booleans.has(key) || strings.has(key) || groups.has(key) ||
      (allBooleans && /^--[^=]+$/.test(arg));
    if (!declared && options.unknown?.(arg, key, value) === false) return;
    const final = typeof value === "string" && !strings.has(key) ? typed(value) : value;
    for (const name of [key, ...groups.get(key) ?? []]) {
      put(name, final, collect && collects.has(key));
    }
  }

  const end = args.indexOf("--");
  const flags = end === -1 ? args : args.slice(0, end);
  const rest = end === -1 ? [] : args.slice(end + 1);

  /** A flag without `=`: its value is the next argument, if that can be one. Returns how many. */
  function setBare(key: string, arg: string, next: string | undefined, short: boolean): number {
    const dashed = next !== undefined && (short ? /^--?[^-]/.test(next) : next.startsWith("-"));
    const wantsValue = !booleans.has(key) && (short || !allBooleans);
    if (next && wantsValue && !dashed) {
      set(key, next, arg);
      return 1;
    }
    if (next === "true" || next === "false") {
      set(key, next === "true", arg);
      return 1;
    }
    set(key, strings.has(key) ? "" : true, arg);
    return 0;
  }

  /** `-abc`, `-n5`, `-n=5`: flags of one letter, the last of which may have a value. */
  function setShort(arg: string, next: string | undefined): number {
    for (let i = 1; i < arg.length - 1; i++) {
      const letter = arg[i];
      const tail = arg.slice(i + 1);
      const value = /^[A-Za-z]=/.test(letter + tail)
        ? tail.slice(1)
        : tail === "-" || (/[A-Za-z]/.test(letter) && /^-?\d+(\.\d*)?(e-?\d+)?$/.test(tail)) ||
            (tail.length > 1 && /^\W/.test(tail))
        ? tail
        : undefined;
      if (value !== undefined) {
        set(letter, value, arg);
        return 0;
      }
      set(letter, strings.has(letter) ? "" : true, arg);
    }
    return setBare(arg[arg.length - 1], arg, next, true);
  }

  for (let i = 0; i < flags.length; i++) {
    const arg = flags[i];
    const next = flags[i + 1];
    if (arg.startsWith("--") && arg.length > 2) {
      const at = arg.indexOf("=", 3);
      const key = at === -1 ? arg.slice(2) : arg.slice(2, at);
      const negated = key.startsWith("no-") ? key.slice(3) : undefined;
      if (at !== -1 && at < arg.length - 1) {
        const value = arg.slice(at + 1);
        set(key, booleans.has(key) ? value !== "false" : value, arg);
      } else if (at !== -1) {
        set(key, strings.has(key) ? "" : true, arg);
      } else if (negated !== undefined && negatables.has(negated)) {
        set(negated, false, arg, false);
      } else {
        i += setBare(key, arg, next, false);
      }
    } else if (arg.startsWith("-") && arg.length > 1) {
      i += setShort(arg, next);
    } else {
      if (options.unknown?.(arg) !== false) result._.push(strings.has("_") ? arg : typed(arg));
      if (options.stopEarly) {
        result._.push(...flags.slice(i + 1));
        break;
      }
    }
  }

  for (const [key, value] of Object.entries(options.default ?? {})) {
    if (Object.hasOwn(result, key)) continue;
    for (const name of [key, ...groups.get(key) ?? []]) put(name, value, false);
  }
  for (const key of booleans) {
    if (!Object.hasOwn(result, key)) put(key, collects.has(key) ? [] : false, false);
  }
  for (const key of strings) {
    if (key !== "_" && !Object.hasOwn(result, key) && collects.has(key)) put(key, [], false);
  }
  if (options["--"]) put("--", [...rest], false);
  else result._.push(...rest);
  return result as Args<B, S, C, N, D, DD>;
}
