/**
 * Renders a kernel to the machine code of x86-64 processors with AVX2 and FMA, or with AVX-512.
 *
 * The code is a function of System V's calling convention that takes two addresses: of its
 * arguments, 64 bits each, without the last two, and of those two, the range of items, 32 bits each.
 * It returns 0 as an i32. It may lie anywhere, its constants behind it.
 */

import type { KernelCode, Lanes } from "../language.ts";
import { constantPool } from "./x64/constants.ts";
import { emit, type EmittedCode } from "./x64/emission.ts";
import { lowerStatements } from "./x64/lowering.ts";
import { Output } from "./x64/output.ts";

/** Instruction sets that code is made for. */
export type X64Level = "avx2" | "avx512";

/** Lanes of the widest vectors of a processor. */
export const X64_LANES = { avx2: 8, avx512: 16 } as const satisfies Record<X64Level, Lanes>;

/** What people call them. */
export const X64_NAMES = { avx2: "AVX2", avx512: "AVX-512" } as const satisfies Record<
  X64Level,
  string
>;

/** Renders a kernel. */
export function renderX64(code: KernelCode, level: X64Level): EmittedCode {
  const evex = level === "avx512";
  try {
    const output = new Output(code, constantPool(), evex);
    lowerStatements(output, code.body);
    return emit(output.finish(), evex);
  } catch (error) {
    throw new Error(`x64: kernel ${code.name}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}
