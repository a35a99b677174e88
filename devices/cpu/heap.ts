/** A heap on a growing WebAssembly memory: first fit, neighbours merged when freed. */

import { MAX_PAGES } from "../../kernels/render/wasm.ts";

const PAGE = 65536;
const ALIGNMENT = 64;
/** The first bytes stay unused, so that no address is 0. */
const FIRST = 64;

/** Gives out addresses. */
export interface Heap {
  /** Address of a free piece, a multiple of 64. Throws a RangeError when 4 GiB are used up. */
  allocate(bytes: number): number;
  free(address: number): void;
}

interface Gap {
  address: number;
  bytes: number;
}

/** Makes a heap of all of a memory. */
export function createHeap(memory: WebAssembly.Memory): Heap {
  const gaps: Gap[] = [{ address: FIRST, bytes: memory.buffer.byteLength - FIRST }];
  const sizes = new Map<number, number>();

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
    if (end / PAGE + pages > MAX_PAGES) {
      const used = [...sizes.values()].reduce((a, b) => a + b, 0);
      throw new RangeError(
        `cpu: out of memory: ${bytes} bytes wanted, ${used} in use, 4 GiB is the most; ` +
          "a smaller batch, a shorter context, accumulation or rematerialisation need less",
      );
    }
    memory.grow(pages);
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
      return address;
    },
    free: (address) => {
      const bytes = sizes.get(address);
      if (bytes === undefined) throw new Error(`cpu: nothing was allocated at ${address}`);
      sizes.delete(address);
      release(address, bytes);
    },
  };
}
