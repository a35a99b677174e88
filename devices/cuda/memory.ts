/** Pieces of a GPU's memory. */

import { checkPiece, type Memory, type MemoryUse } from "../device.ts";
import { countUsage } from "../usage.ts";
import type { CudaContext } from "./context.ts";

/** A piece of memory from an address of the device. */
export interface CudaMemory extends Memory {
  readonly address: bigint;
}

/** A piece of memory. */
export function piece(address: bigint, bytes: number): CudaMemory {
  return {
    ...{ address, bytes },
    slice: (offset, length) => {
      checkPiece(offset, length, bytes);
      return piece(address + BigInt(offset), length);
    },
  };
}

/** Gives out memory, and counts it. */
export interface CudaAllocator {
  allocate(bytes: number): CudaMemory;
  free(memory: CudaMemory): void;
  use(): MemoryUse;
}

/** Memory of a GPU. */
export function createMemory(context: CudaContext): CudaAllocator {
  const used = countUsage<bigint>();
  return {
    allocate: (bytes) => {
      // Kernels read whole words, of stored weights as well, whose last may be half a word.
      const own = piece(context.allocate(Math.ceil(bytes / 4) * 4), bytes);
      used.add(own.address, bytes);
      return own;
    },
    free: ({ address }) => {
      context.free(address);
      used.remove(address);
    },
    use: used.use,
  };
}
