/** Pieces of a GPU's memory. */

import { checkPiece, type Memory } from "../device.ts";

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
