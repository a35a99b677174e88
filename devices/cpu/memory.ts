/** Pieces of the shared memory. */

import { checkPiece, type Memory } from "../device.ts";

/** A piece of the device's heap. */
export interface CpuMemory extends Memory {
  readonly address: number;
}

/** A piece by its address. */
export function piece(address: number, bytes: number): CpuMemory {
  return {
    address,
    bytes,
    slice: (offset, length) => {
      checkPiece(offset, length, bytes);
      return piece(address + offset, length);
    },
  };
}
