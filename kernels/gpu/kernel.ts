/** What a GPU kernel is to a device: code, a number of groups, and its cost. */

import type { KernelCost, MatmulShape } from "../kernel.ts";
import type { GpuCode } from "./language.ts";

/**
 * A kernel for given shapes. Operands are inputs, then outputs; groups are independent of one
 * another, and each computes in a fixed order, so that the result has the same bits every time.
 */
export interface GpuKernel extends KernelCost {
  /** Names the code: two kernels with one key are one kernel. */
  readonly key: string;
  /** Builds the code. */
  readonly code: () => GpuCode;
  /** Number of groups of threads. */
  readonly groups: number;
  /** Operands that must begin at multiples of 16 bytes, and a kernel for where they do not. */
  readonly aligned?: { readonly operands: readonly number[]; readonly otherwise: GpuKernel };
  /** A plain matrix product, which a device may leave to a library. */
  readonly matmul?: MatmulShape;
  /**
   * Whether it may be a part of a larger kernel (joined.ts): it is so small that starting it costs a
   * GPU about as much, and its groups have 256 threads.
   */
  readonly joins?: boolean;
}

/** A kernel, or the one that does the same for operands that lie elsewhere. */
export function fittingKernel(
  kernel: GpuKernel,
  isAligned: (operand: number) => boolean,
): GpuKernel {
  const { aligned } = kernel;
  return aligned === undefined || aligned.operands.every(isAligned) ? kernel : aligned.otherwise;
}
