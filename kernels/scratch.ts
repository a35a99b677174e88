/** Scratch memory of a kernel in parts that have names. */

import type { Block } from "./language/block.ts";
import { offset } from "./language/language.ts";
import type { Pointer } from "./language/vectors.ts";

/** Where parts lie, one behind another. */
export interface ScratchLayout<Name extends string> {
  /** The first byte of each. */
  readonly places: Readonly<Record<Name, number>>;
  /** Of all parts. */
  readonly bytes: number;
}

/** The layout of parts of so many bytes, in their order. */
export function scratchLayout<Name extends string>(
  sizes: Readonly<Record<Name, number>>,
): ScratchLayout<Name> {
  let bytes = 0;
  const places = Object.fromEntries(
    Object.entries<number>(sizes).map(([name, size]) => [name, (bytes += size) - size]),
  ) as Record<Name, number>;
  return { places, bytes };
}

/** Pointers to the parts of scratch memory that begins at `base`. */
export function scratchPointers<Name extends string>(
  k: Block,
  base: Pointer,
  { places }: ScratchLayout<Name>,
): Readonly<Record<Name, Pointer>> {
  return Object.fromEntries(
    Object.entries<number>(places).map(([name, place]) => [name, k.let(offset(base, place))]),
  ) as Record<Name, Pointer>;
}
