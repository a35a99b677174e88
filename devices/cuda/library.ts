/** Shared libraries of NVIDIA by the names that systems give them, or by a path that is asked for. */

import { CudaError } from "./error.ts";

/** Where a library may be found. */
export interface LibraryPlaces {
  /** What it is, for people. */
  readonly what: string;
  /** The variable that may name its path. */
  readonly variable: string;
  /** Names and paths to try, the newest first. */
  readonly candidates: readonly string[];
  /** What to install where none is found. */
  readonly advice: string;
}

/** An open library. */
export interface OpenLibrary<S extends Deno.ForeignLibraryInterface> {
  readonly path: string;
  readonly symbols: Deno.StaticForeignLibraryInterface<S>;
  close(): void;
}

/** The value of a variable; undefined where it is not set or may not be read. */
export function variable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  const value = state === "granted" ? Deno.env.get(name) : undefined;
  return value === "" ? undefined : value;
}

/**
 * Opens the library that the variable names, else the first candidate that opens.
 * @throws CudaError that lists what was tried and what each said.
 */
export function openLibrary<const S extends Deno.ForeignLibraryInterface>(
  { what, variable: name, candidates, advice }: LibraryPlaces,
  symbols: S,
  prepare: (path: string) => void = () => {},
): OpenLibrary<S> {
  const given = variable(name);
  const tried: string[] = [];
  for (const path of given === undefined ? candidates : [given]) {
    try {
      prepare(path);
      const library = Deno.dlopen(path, symbols);
      return { path, symbols: library.symbols, close: () => library.close() };
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) {
        throw new CudaError(`cuda: ${what}: loading it needs --allow-ffi`, { cause: error });
      }
      tried.push(`${path} (${error instanceof Error ? error.message.split("\n")[0] : error})`);
    }
  }
  const where = given === undefined ? `${name}=PATH names another` : `${name} named it`;
  throw new CudaError(`cuda: no ${what}: tried ${tried.join(", ")}; ${advice}; ${where}`);
}
