/**
 * The RWKV recurrences on a GPU by chunks of 16 tokens, in the form of matrix products.
 *
 * A state is written here as S [value, key]: for RWKV-7 as it is, S ← S·diag(w) + u·b + vᵀk with
 * u = S·κᵀ and b = −a⊙κ; for RWKV-6 turned, without u and b. With P(s, t) the product of the decays
 * after token s up to token t,
 *
 *     S after t = S₀·P(…, t) + Σₛ (vₛkₛ + uₛbₛ)·P(s, t)
 *     uₜ = κ̂ₜ·S₀ᵀ + u′ₜ, yₜ = r̂ₜ·S₀ᵀ + y′ₜ
 *     S after the chunk = S₀·P(…, end) + Σ uₜb̄ₜ + vₜk̄ₜ
 *
 * where κ̂, r̂, u′ and y′ follow from the scores of the chunk's tokens, sixteen times sixteen numbers,
 * and k̄ and b̄ are k and b decayed to the end of the chunk. Only the last line goes from chunk to
 * chunk, and in it the rows of S do not depend on one another. The gradient dS of the state after a
 * chunk goes the other way in the same form,
 *
 *     dS₀ = dS·P(…, end) + Σ (dS·b̄ₜ)κ̂ₜ + dyₜr̂ₜ
 *
 * so that one kernel does both. Decays are only ever multiplied, never divided by, so that they may be
 * as strong as they like, and 0. Tokens beyond the last are zeros with decay 1.
 */

import { WKV_CHUNK } from "../../../graph/build.ts";
import { add, div, fma, i32, lessThan, min, mul, rem, select } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { elementAt, type HeadRows, type HeadStrides } from "../heads.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";
import { chunksOf, type GpuWkvShape, type GroupHead, groupHead } from "./recurrence.ts";

/** Inputs of a recurrence; RWKV-7 has κ and a. */
export type WkvInputs =
  & Readonly<Record<"r" | "w" | "k" | "v", HeadStrides>>
  & Readonly<Partial<Record<"kappa" | "a", HeadStrides>>>;

/** What the kernels of a recurrence by chunks are made for. */
export interface GpuChunkedShape extends Omit<GpuWkvShape<never>, "inputs"> {
  readonly inputs: WkvInputs;
}

/** Whether tokens remove something from the state, as those of RWKV-7 do: whether there is κ. */
export const removes = ({ inputs }: GpuChunkedShape): boolean => inputs.kappa !== undefined;

/** Vectors of a chunk that a state is multiplied by: r̂ of every token and, where there is one, κ̂. */
export const vectorsOf = (shape: GpuChunkedShape): number => (removes(shape) ? 2 : 1) * WKV_CHUNK;

/** The place of a token's vector among them: κ̂ or b̄ come first, then r̂ or k̄. */
export function vectorAt(shape: GpuChunkedShape, of: "removed" | "own", token: Index): Index {
  return of === "own" && removes(shape) ? add(token, i32(WKV_CHUNK)) : token;
}

/** Chunks of all heads. */
export const allChunks = ({ batch, heads, time }: GpuChunkedShape): number =>
  batch * heads * chunksOf(time);

/** The chunk that a group works for, or works for a part of. */
export interface GroupChunk {
  readonly head: GroupHead;
  /** Its number among the chunks of all heads. */
  readonly index: Index;
  /** Its first token. */
  readonly first: Index;
  readonly part: Index;
}

/** A group's chunk, where each has so many groups. */
export function groupChunk(k: GpuBlock, shape: GpuChunkedShape, parts = 1): GroupChunk {
  const chunks = chunksOf(shape.time);
  const index = k.let(div(k.group, i32(parts)));
  return {
    head: groupHead(k, shape, k.let(div(index, i32(chunks)))),
    index,
    first: k.let(mul(rem(index, i32(chunks)), i32(WKV_CHUNK))),
    part: k.let(rem(k.group, i32(parts))),
  };
}

/** The number of an element among rows of rows of … : Σ index·stride. */
export function position(...terms: readonly (readonly [index: Index, stride: number])[]): Index {
  return terms
    .map(([index, stride]) => mul(index, i32(stride)))
    .reduce((sum, term) => add(sum, term));
}

/** Reads an element of a chunk's token. */
export type ReadToken = (token: Index, column: Index) => Float;

/** Reads a chunk's tokens; one beyond the last has the value that is given. */
export function chunkToken(
  k: GpuBlock,
  { time }: GpuChunkedShape,
  rows: HeadRows,
  first: Index,
  missing = 0,
): ReadToken {
  return (token, column) => {
    const at = k.let(add(first, token));
    if (time % WKV_CHUNK === 0) return k.read(rows.place, elementAt(rows, at, column));
    const value = k.read(rows.place, elementAt(rows, min(at, i32(time - 1)), column));
    return k.let(select(lessThan(at, i32(time)), value, f32(missing)));
  };
}

/** Writes an element of a chunk's token, unless it is beyond the last. */
export function putToken(
  k: GpuBlock,
  { time }: GpuChunkedShape,
  rows: HeadRows,
  first: Index,
): (token: Index, column: Index, value: Float) => void {
  return (token, column, value) => {
    const at = k.let(add(first, token));
    const put = () => k.write(rows.place, elementAt(rows, at, column), value);
    if (time % WKV_CHUNK === 0) put();
    else k.if(lessThan(at, i32(time)), put);
  };
}

/** An index or, beyond the last, the last; `size` may be divided by what indices come in. */
export const inside = (k: GpuBlock, index: Index, size: number, by: number): Index =>
  size % by === 0 ? index : k.let(min(index, i32(size - 1)));

/** Does something for an index that exists. */
export function ifInside(
  k: GpuBlock,
  index: Index,
  size: number,
  by: number,
  run: () => void,
): void {
  if (size % by === 0) run();
  else k.if(lessThan(index, i32(size)), run);
}

/** Σ a·b, in four sums that do not wait for one another. */
export function sumOfProducts(k: GpuBlock, pairs: readonly (readonly [Float, Float])[]): Float {
  const chains = [0, 1, 2, 3].map((chain) => pairs.filter((_, i) => i % 4 === chain));
  const sums = chains.filter((own) => own.length > 0).map(([[a, b], ...others]) =>
    others.reduce((sum, [x, y]) => k.let(fma(x, y, sum)), k.let(mul(a, b)))
  );
  return sums.reduce((sum, other) => k.let(add(sum, other)));
}

/** Numbers from 0. */
export const count = (size: number): readonly number[] => Array.from({ length: size }, (_, i) => i);

/** What a kernel's operands are to those who read a place by name. */
export type Places = Readonly<Record<string, Place<"f32">>>;
