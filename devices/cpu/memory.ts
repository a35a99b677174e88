/** Pieces of the shared memory. */

import type { Memory } from "../device.ts";

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
      if (!(offset >= 0 && length >= 0 && offset + length <= bytes)) {
        throw new RangeError(`memory: ${length} bytes at ${offset} of ${bytes}`);
      }
      return piece(address + offset, length);
    },
  };
}
