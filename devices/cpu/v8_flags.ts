/**
 * V8's flags with which WebAssembly computes on vectors of eight lanes, by AVX2.
 *
 * V8 makes one instruction of two on 128 bits where it is told to (`--experimental-wasm-revectorize`)
 * and where no code lies between two accesses to memory. Deno's WebAssembly checks bounds by code
 * before every access, so that must be off too (`--no-wasm-bounds-checks`): then WebAssembly is no
 * safer than machine code called through FFI. Tasks that may use FFI set both; see docs/cpu.md.
 */

import type { Lanes } from "../../kernels/language/syntax.ts";
import { variable } from "../environment.ts";

/** Where Deno reads flags of V8 from. */
const V8_FLAGS_VARIABLE = "DENO_V8_FLAGS";

/** Both flags. */
const WIDE = ["--experimental-wasm-revectorize", "--no-wasm-bounds-checks"] as const;
/** What a person sets to have neither. */
const NARROW = "--no-experimental-wasm-revectorize";

const given = (): string[] => variable(V8_FLAGS_VARIABLE)?.split(",") ?? [];

/** The value of the variable for a process that computes: what is set already, and both flags. */
export function wideFlags(): string {
  const own = given();
  return (own.includes(NARROW) ? own : [...new Set([...own, ...WIDE])]).join(",");
}

/** Lanes of the vectors that WebAssembly has in this process. */
export function wasmLanes(): Lanes {
  const own = given();
  return WIDE.every((flag) => own.includes(flag)) && !own.includes(NARROW) ? 8 : 4;
}
