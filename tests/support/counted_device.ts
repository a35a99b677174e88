/** A device that counts what is not given back. */

import type { Device, Executable, Memory } from "../../devices/device.ts";

/** A device and what it still holds. */
export interface CountedDevice extends Device {
  /** Pieces of memory and programs that were not freed. */
  held(): { readonly memory: number; readonly programs: number };
}

/**
 * Counts the memory and the programs of a device.
 * @param failAt the number, from 0, of the call of `compile` that fails
 */
export function counted(device: Device, failAt = Infinity): CountedDevice {
  const memory = new Set<Memory>();
  const programs = new Set<Executable>();
  let compiled = 0;
  return {
    ...device,
    held: () => ({ memory: memory.size, programs: programs.size }),
    allocate: (bytes) => {
      const piece = device.allocate(bytes);
      memory.add(piece);
      return piece;
    },
    free: (piece) => {
      if (!memory.delete(piece)) throw new Error("freed what was not allocated, or freed twice");
      device.free(piece);
    },
    compile: (results, bindings) => {
      if (compiled++ === failAt) throw new Error("compile: fails as it was told to");
      const program = device.compile(results, bindings);
      const own: Executable = {
        ...program,
        free: () => {
          if (!programs.delete(own)) throw new Error("a program was freed twice");
          program.free();
        },
      };
      programs.add(own);
      return own;
    },
  };
}
