/**
 * OpenBLAS picks its kernels by the processor's model when it is loaded, and takes the oldest for
 * one that it does not know: a tenth of the speed. This asks what it took, and whether the
 * processor can do more.
 */

/** Where OpenBLAS takes its kernels from, if it is set. */
const CORE_VARIABLE = "OPENBLAS_CORETYPE";

/** Kernels with AVX-512, and those that have AVX2 at least. */
const AVX512 = ["SkylakeX", "Cooperlake", "SapphireRapids"];
const AVX2 = [...AVX512, "Haswell", "Zen", "Zen4", "Zen5"];

/** What an OpenBLAS says of itself and of the processor. */
export interface CoreReport {
  /** The kernels that it uses. */
  readonly core: string;
  readonly avx2: boolean;
  readonly avx512: boolean;
}

/** The kernels to ask for in place of those it uses; undefined where these are as good as any. */
export function betterCore({ core, avx2, avx512 }: CoreReport): string | undefined {
  if (avx512) return AVX512.includes(core) ? undefined : "SkylakeX";
  if (avx2) return AVX2.includes(core) ? undefined : "Haswell";
  return undefined;
}

const NAME = { openblas_get_corename: { parameters: [], result: "pointer" } } as const;
const SUPPORT = {
  support_avx2: { parameters: [], result: "i32" },
  support_avx512: { parameters: [], result: "i32" },
} as const;

/** Opens a library for a question; undefined where it lacks a function. */
function ask<S extends Deno.ForeignLibraryInterface, T>(
  path: string,
  symbols: S,
  question: (library: Deno.DynamicLibrary<S>) => T,
): T | undefined {
  try {
    const library = Deno.dlopen(path, symbols);
    try {
      return question(library);
    } finally {
      library.close();
    }
  } catch {
    return undefined;
  }
}

/** The kernels that a library uses; undefined where it is not OpenBLAS. */
export const coreOf = (path: string): string | undefined =>
  ask(path, NAME, ({ symbols }) => {
    const name = symbols.openblas_get_corename();
    return name === null ? undefined : new Deno.UnsafePointerView(name).getCString();
  });

/** What a library knows; undefined where it is not an OpenBLAS that chooses when it is loaded. */
function report(path: string): CoreReport | undefined {
  const core = coreOf(path);
  return core === undefined ? undefined : ask(path, SUPPORT, ({ symbols }) => ({
    core,
    avx2: symbols.support_avx2() !== 0,
    avx512: symbols.support_avx512() !== 0,
  }));
}

/**
 * Makes the library at `path`, which must not be open, use the kernels that fit the processor.
 * Whoever set OPENBLAS_CORETYPE has chosen already; without permission to set it nothing changes.
 */
export function chooseCore(path: string): void {
  const allowed = Deno.permissions.querySync({ name: "env", variable: CORE_VARIABLE });
  if (allowed.state !== "granted" || Deno.env.get(CORE_VARIABLE) !== undefined) return;
  const found = report(path);
  const better = found && betterCore(found);
  if (better !== undefined) Deno.env.set(CORE_VARIABLE, better);
}
