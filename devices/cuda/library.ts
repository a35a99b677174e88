/** Shared libraries of NVIDIA by the names that systems give them, or by a path that is asked for. */

import { join } from "node:path";
import { variable } from "../environment.ts";
import { CudaError } from "./error.ts";
import { toolkitFolders } from "./names.ts";

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

/** Names of a library, first as the system finds them, then in folders of our own and the toolkit's. */
export function candidates(names: readonly string[], folders: readonly string[] = []): string[] {
  const all = [...folders, ...toolkitFolders(Deno.build.os, variable("CUDA_PATH"))];
  return [...names, ...all.flatMap((folder) => names.map((name) => join(folder, name)))];
}

/**
 * Opens the library at a path, which the variable may name, else the first candidate that opens.
 * @throws CudaError that lists what was tried and what each said.
 */
export function openLibrary<const S extends Deno.ForeignLibraryInterface>(
  places: LibraryPlaces,
  symbols: S,
  path = variable(places.variable),
  prepare: (path: string) => void = () => {},
): OpenLibrary<S> {
  const { what, candidates, advice } = places;
  const tried: string[] = [];
  for (const name of path === undefined ? candidates : [path]) {
    try {
      prepare(name);
      const library = Deno.dlopen(name, symbols);
      return { path: name, symbols: library.symbols, close: () => library.close() };
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) {
        throw new CudaError(`cuda: ${what}: loading it needs --allow-ffi`, { cause: error });
      }
      tried.push(`${name} (${error instanceof Error ? error.message.split("\n")[0] : error})`);
    }
  }
  const where = `or set ${places.variable} to its path`;
  throw new CudaError(`cuda: no ${what}: tried ${tried.join(", ")}; ${advice}, ${where}`);
}
