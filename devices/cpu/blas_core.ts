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

/** What the processor has, as Linux names it. */
const NEEDED = {
  SkylakeX: ["avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"],
  Haswell: ["avx2", "fma"],
} as const;

/** The kernels to ask for in place of `core`; undefined where `core` is as good as any. */
export function betterCore(core: string, flags: ReadonlySet<string>): string | undefined {
  const has = (name: keyof typeof NEEDED) => NEEDED[name].every((flag) => flags.has(flag));
  if (has("SkylakeX")) return AVX512.includes(core) ? undefined : "SkylakeX";
  if (has("Haswell")) return AVX2.includes(core) ? undefined : "Haswell";
  return undefined;
}

/** The processor's features by /proc/cpuinfo; none where that cannot be read. */
function processorFlags(): ReadonlySet<string> {
  try {
    const line = /^flags\s*:(.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? "";
    return new Set(line.trim().split(/\s+/));
  } catch {
    return new Set();
  }
}

/** The kernels that a library would use; undefined where it is not OpenBLAS. */
export function coreOf(path: string): string | undefined {
  try {
    const library = Deno.dlopen(path, {
      openblas_get_corename: { parameters: [], result: "pointer" },
    });
    const name = library.symbols.openblas_get_corename();
    const text = name === null ? undefined : new Deno.UnsafePointerView(name).getCString();
    library.close();
    return text;
  } catch {
    return undefined;
  }
}

/**
 * Makes the library at `path`, which must not be open, use the kernels that fit the processor.
 * Whoever set OPENBLAS_CORETYPE has chosen already; without permission to set it nothing changes.
 */
export function chooseCore(path: string): void {
  const allowed = Deno.permissions.querySync({ name: "env", variable: CORE_VARIABLE });
  if (allowed.state !== "granted" || Deno.env.get(CORE_VARIABLE) !== undefined) return;
  const core = coreOf(path);
  const better = core === undefined ? undefined : betterCore(core, processorFlags());
  if (better !== undefined) Deno.env.set(CORE_VARIABLE, better);
}
