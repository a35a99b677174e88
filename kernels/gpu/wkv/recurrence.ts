/** What the GPU kernels of the RWKV recurrences have in common. */

import { WKV_CHUNK } from "../../../graph/build.ts";
import { add, div, equal, i32, mul, rem } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { contiguousHeads, type HeadRows, headRows, type HeadStrides } from "../heads.ts";
import type { Index, Place } from "../language.ts";

/** What a recurrence's kernel is made for; `inputs` tells how each lies. */
export interface GpuWkvShape<Name extends string> {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly width: number;
  readonly inputs: Readonly<Record<Name, HeadStrides>>;
}

/** The head that a group works for. */
export interface GroupHead {
  readonly b: Index;
  readonly h: Index;
  /** The first element of its matrix in a tensor [batch, heads, width, width]. */
  readonly state: Index;
}

/** The head of a number among those of all batches: the group's, where each has one. */
export function groupHead(
  k: GpuBlock,
  { heads, width }: { readonly heads: number; readonly width: number },
  index = k.group,
): GroupHead {
  return {
    b: k.let(div(index, i32(heads))),
    h: k.let(rem(index, i32(heads))),
    state: k.let(mul(index, i32(width * width))),
  };
}

/** The rows of a head in operands by name. */
export function rowsByName<Name extends string>(
  k: GpuBlock,
  places: Readonly<Record<NoInfer<Name>, Place<"f32">>>,
  layouts: Readonly<Record<Name, HeadStrides>>,
  { b, h }: GroupHead,
): Record<Name, HeadRows> {
  const names = Object.keys(layouts) as Name[];
  return Object.fromEntries(
    names.map((name) => [name, headRows(k, places[name], layouts[name], b, h)]),
  ) as Record<Name, HeadRows>;
}

/** The rows of a head in a contiguous operand. */
export function ownRows(
  k: GpuBlock,
  place: Place<"f32">,
  { time, heads, width }: GpuWkvShape<string>,
  { b, h }: GroupHead,
): HeadRows {
  return headRows(k, place, contiguousHeads(time, heads, width), b, h);
}

/** Chunks of a sequence. */
export const chunksOf = (time: number): number => Math.ceil(time / WKV_CHUNK);

/** The first element of a chunk's state among those of a group's head. */
export function chunkState(k: GpuBlock, time: number, width: number, chunk: Index): Index {
  return k.let(mul(add(mul(k.group, i32(chunksOf(time))), chunk), i32(width * width)));
}

/** Runs `keep` with a token's chunk where the token is the first of it. */
export function atChunks(k: GpuBlock, token: Index, keep: (chunk: Index) => void): void {
  k.if(equal(rem(token, i32(WKV_CHUNK)), i32(0)), () => keep(k.let(div(token, i32(WKV_CHUNK)))));
}
