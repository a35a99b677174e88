/** Counts the memory of a device that has its own allocator. */

import type { MemoryUse } from "./device.ts";

/** The pieces that are allocated, by what tells them apart. */
export interface Usage<K> {
  add(piece: K, bytes: number): void;
  /** False where there is no such piece. */
  remove(piece: K): boolean;
  use(): MemoryUse;
  pieces(): K[];
}

/** Starts to count. */
export function countUsage<K>(): Usage<K> {
  const sizes = new Map<K, number>();
  let inUse = 0;
  let peak = 0;
  return {
    add: (piece, bytes) => {
      sizes.set(piece, bytes);
      inUse += bytes;
      peak = Math.max(peak, inUse);
    },
    remove: (piece) => {
      inUse -= sizes.get(piece) ?? 0;
      return sizes.delete(piece);
    },
    use: () => ({ inUse, peak }),
    pieces: () => [...sizes.keys()],
  };
}
