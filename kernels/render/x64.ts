/**
 * Renders a kernel to the machine code of x86-64 processors with AVX2 and FMA, or with AVX-512, or
 * with VNNI as well, or with tiles (AMX) too.
 *
 * The code is a function of System V's calling convention that takes two addresses: of its
 * arguments, 64 bits each, without the last two, and of those two, the range of items, 32 bits each.
 * It returns 0 as an i32. It may lie anywhere, its constants behind it.
 */

import type { KernelCode, Lanes } from "../language/syntax.ts";
import { constantPool } from "./x64/constants.ts";
import { emit, type EmittedCode } from "./x64/emission.ts";
import { lowerStatements } from "./x64/lowering.ts";
import { Output } from "./x64/output.ts";

/** Instruction sets that code is made for; each has those before it. */
export const X64_LEVELS = ["avx2", "avx512", "vnni", "amx"] as const;
export type X64Level = (typeof X64_LEVELS)[number];

/** The levels that a processor of one can run. */
export const levelsOf = (highest: X64Level): readonly X64Level[] =>
  X64_LEVELS.slice(0, X64_LEVELS.indexOf(highest) + 1);

/** Lanes of the widest vectors of a processor. */
export const X64_LANES = { avx2: 8, avx512: 16, vnni: 16, amx: 16 } as const satisfies Record<
  X64Level,
  Lanes
>;

/** What people call them. */
export const X64_NAMES = {
  avx2: "AVX2",
  avx512: "AVX-512",
  vnni: "AVX-512 VNNI",
  amx: "AVX-512 and AMX",
} as const satisfies Record<X64Level, string>;

/** Renders a kernel. */
export function renderX64(code: KernelCode, level: X64Level): EmittedCode {
  const [evex, dots] = [level !== "avx2", level === "vnni" || level === "amx"];
  try {
    // Every processor with tiles has GFNI.
    const output = new Output(code, constantPool(), { evex, dots, mixes: level === "amx" });
    lowerStatements(output, code.body);
    return emit(output.finish(), evex);
  } catch (error) {
    throw new Error(`x64: kernel ${code.name}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}
