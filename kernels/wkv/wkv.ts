/** What the kernels of the RWKV recurrences have in common. */

import { WKV_CHUNK } from "../../graph/build.ts";
import type { OperandLayout } from "../kernel.ts";
import { i32, min, sub } from "../language/language.ts";
import { type HeadOperand, headOperand, type Index, type Pointer } from "../language/vectors.ts";

/** What a kernel of a recurrence with such inputs is made for. The width is a multiple of 4. */
export interface WkvShape<Name extends string> {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly width: number;
  /** Where the inputs [batch, time, heads, width] lie. */
  readonly inputs: Readonly<Record<Name, OperandLayout>>;
}

/** Fails for widths that vectors do not divide. */
export function checkWidth(op: string, width: number): void {
  if (width % 4 !== 0) {
    throw new Error(`${op}: expected a width of a multiple of 4, found ${width}`);
  }
}

/** Inputs [batch, time, heads, width] as operands, by name. */
export function headOperands<Name extends string>(
  op: string,
  addresses: Readonly<Record<Name, Pointer>>,
  layouts: Readonly<Record<Name, OperandLayout>>,
): Record<Name, HeadOperand> {
  const names = Object.keys(layouts) as Name[];
  return Object.fromEntries(
    names.map((name) => [name, headOperand(`${op} ${name}`, addresses[name], layouts[name])]),
  ) as Record<Name, HeadOperand>;
}

/** Tokens of a chunk: all of them, or what is left at the end. */
export function chunkTokens(time: number, first: Index): Index | number {
  if (time <= WKV_CHUNK) return time;
  return time % WKV_CHUNK === 0 ? WKV_CHUNK : min(sub(i32(time), first), i32(WKV_CHUNK));
}

/** Work items from which on a head is not divided any more. */
const ENOUGH_ITEMS = 32;

/**
 * Parts that each head's state is divided into, so that there is work for many threads: a power of
 * 2. A part is a multiple of `unit` rows or columns, and at least `fewest`.
 */
export function partsOf(heads: number, width: number, unit: number, fewest: number): number {
  let parts = 1;
  const divides = () => width % (parts * 2 * unit) === 0 && width / (parts * 2) >= fewest;
  while (heads * parts < ENOUGH_ITEMS && divides()) parts *= 2;
  return parts;
}
