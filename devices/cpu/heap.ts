/** A heap on a growing WebAssembly memory: first fit, neighbours merged when freed. */

import { NEEDS_LESS } from "../out_of_memory.ts";
import type { MemoryUse } from "../device.ts";
import { growMemory, PAGE, reach, type SharedMemory } from "./memory.ts";

/** Every address is a multiple of it. */
export const ALIGNMENT = 64;
/** The first bytes stay unused, so that no address is 0. */
const FIRST = 64;

/** Gives out addresses. */
export interface Heap {
  /** Address of a free piece, a multiple of 64. Throws a RangeError when all memory is used up. */
  allocate(bytes: number): number;
  free(address: number): void;
  /** Bytes that are in use, and the most that were at once. */
  use(): MemoryUse;
}

interface Gap {
  address: number;
  bytes: number;
}

const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** Makes a heap of all of a memory. */
export function createHeap(shared: SharedMemory): Heap {
  const { memory, addresses } = shared;
  const gaps: Gap[] = [{ address: FIRST, bytes: memory.buffer.byteLength - FIRST }];
  const sizes = new Map<number, number>();
  let used = 0;
  let peak = 0;

  const release = (address: number, bytes: number) => {
    const at = gaps.findIndex((gap) => gap.address > address);
    const index = at < 0 ? gaps.length : at;
    gaps.splice(index, 0, { address, bytes });
    for (let i = Math.max(0, index - 1); i <= index && i + 1 < gaps.length;) {
      if (gaps[i].address + gaps[i].bytes === gaps[i + 1].address) {
        gaps[i].bytes += gaps[i + 1].bytes;
        gaps.splice(i + 1, 1);
      } else i++;
    }
  };

  const grow = (bytes: number) => {
    const end = memory.buffer.byteLength;
    const last = gaps[gaps.length - 1];
    const tail = last !== undefined && last.address + last.bytes === end ? last.bytes : 0;
    const pages = Math.ceil((bytes - tail) / PAGE);
    const most = reach(addresses);
    const refuse = (limit: string, cause?: unknown) => {
      throw new RangeError(
        `cpu: out of memory: ${bytes} bytes (${gibibytes(bytes)}) wanted, ${used} ` +
          `(${gibibytes(used)}) in use, ${limit}; ${NEEDS_LESS}`,
        { cause },
      );
    };
    const wider = addresses === "i32" ? " (openCpu's option `memory` gives more)" : "";
    if (end + pages * PAGE > most) refuse(`${most / 2 ** 30} GiB is the most${wider}`);
    try {
      growMemory(shared, pages);
    } catch (error) {
      refuse("and the system has no more to give", error);
    }
    release(end, pages * PAGE);
  };

  return {
    allocate: (wanted) => {
      const bytes = Math.max(ALIGNMENT, Math.ceil(wanted / ALIGNMENT) * ALIGNMENT);
      let gap = gaps.find((g) => g.bytes >= bytes);
      if (gap === undefined) {
        grow(bytes);
        gap = gaps.find((g) => g.bytes >= bytes)!;
      }
      const { address } = gap;
      gap.address += bytes;
      gap.bytes -= bytes;
      if (gap.bytes === 0) gaps.splice(gaps.indexOf(gap), 1);
      sizes.set(address, bytes);
      used += bytes;
      peak = Math.max(peak, used);
      return address;
    },
    free: (address) => {
      const bytes = sizes.get(address);
      if (bytes === undefined) throw new Error(`cpu: nothing was allocated at ${address}`);
      sizes.delete(address);
      used -= bytes;
      release(address, bytes);
    },
    use: () => ({ inUse: used, peak }),
  };
}
