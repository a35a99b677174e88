/**
 * Causal softmax attention on a GPU: a group is a block of queries of one head, which walks the
 * blocks of keys with a running maximum and sum (Dao et al., FlashAttention).
 */

import { seenPairs } from "../attention.ts";
import {
  add,
  bitAnd,
  constant,
  div,
  equal,
  fma,
  i32,
  lessThan,
  max,
  min,
  mul,
  rem,
  select,
  sub,
} from "../language.ts";
import { exp2, log } from "../math.ts";
import {
  elementAt,
  headRows,
  type HeadStrides,
  linesOfColumns,
  linesOfRows,
  linesOfTile,
  padded,
} from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import { f32, type Float, type GpuBlock, gpuKernel, type Index } from "./language.ts";
import { foldLanes } from "./loop.ts";
import { addProduct, eachSum, stretches, TILE_THREADS, tileSums } from "./products.ts";

/** What an attention kernel is made for. */
export interface GpuAttentionShape {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
  readonly scale: number;
  /** Latest keys that a query sees, its own included; every earlier one where it is missing. */
  readonly window?: number;
  /** How q, k and v lie. */
  readonly q: HeadStrides;
  readonly k: HeadStrides;
  readonly v: HeadStrides;
}

/** Less than any score, and still a number. */
export const HIDDEN = -1e30;

/** Threads along a row of a tile. */
const LANES = 16;

/** Queries and keys of a block. */
export const attentionBlock = (time: number): number => time <= 16 ? 16 : time <= 32 ? 32 : 64;

/** Strides of a contiguous [batch, time, heads, width]. */
export const contiguousHeads = (time: number, heads: number, width: number): HeadStrides => [
  time * heads * width,
  heads * width,
  width,
];

/** Whether a query sees a key; both may be beyond the last, which only keys must not be. */
export function sees(
  query: Index,
  key: Index,
  { time, window }: Pick<GpuAttentionShape, "time" | "window">,
): Index {
  const causal = bitAnd(lessThan(key, add(query, i32(1))), lessThan(key, i32(time)));
  return window === undefined ? causal : bitAnd(causal, lessThan(sub(query, i32(window)), key));
}

/** The first key of the first block that a query sees something of. */
export function firstBlock(k: GpuBlock, query: Index, block: number, window?: number): Index {
  if (window === undefined) return i32(0);
  const first = max(sub(query, i32(window - 1)), i32(0));
  return k.let(mul(div(first, i32(block)), i32(block)));
}

/** Operands q, k, v → output [batch, time, heads, width] and log-sum-exp [batch, heads, time]. */
export function attention(shape: GpuAttentionShape): GpuKernel {
  const { batch, time, heads, kvHeads, width } = shape;
  const rows = batch * time * width;
  return {
    key: `attention ${JSON.stringify(shape)}`,
    code: () => attentionCode(shape),
    groups: batch * heads * Math.ceil(time / attentionBlock(time)),
    flops: 4 * batch * heads * seenPairs(time, shape.window) * width,
    bytes: 4 * (2 * rows * (heads + kvHeads) + batch * heads * time),
  };
}

function attentionCode(shape: GpuAttentionShape) {
  const { time, heads, kvHeads, width, scale, window } = shape;
  const block = attentionBlock(time);
  const blocks = Math.ceil(time / block);
  const operands = { q: "f32", k: "f32", v: "f32", output: "+f32", logSumExp: "+f32" } as const;
  return gpuKernel("attention", TILE_THREADS, operands, (k, places) => {
    const head = k.let(div(k.group, i32(blocks)));
    const [b, h] = [k.let(div(head, i32(heads))), k.let(rem(head, i32(heads)))];
    const kv = k.let(div(h, i32(heads / kvHeads)));
    const firstQuery = k.let(mul(rem(k.group, i32(blocks)), i32(block)));
    const q = headRows(k, places.q, shape.q, b, h);
    const key = headRows(k, places.k, shape.k, b, kv);
    const v = headRows(k, places.v, shape.v, b, kv);
    const output = headRows(k, places.output, contiguousHeads(time, heads, width), b, h);

    const room = stretches(k, block, Math.max(block, padded(width)));
    const pitch = block + 1;
    const weights = k.shared("f32", Math.max(block * pitch, block / LANES * TILE_THREADS));
    const scores = tileSums(k, block, block);
    const out = tileSums(k, block, padded(width));
    const each = scores.values.map((_, r) => r);
    const tops = each.map(() => k.variable(f32(HIDDEN)));
    const sums = each.map(() => k.variable(f32(0)));
    const fold = (values: readonly Float[], combine: (a: Float, b: Float) => Float) =>
      foldLanes(k, weights, LANES, values, combine);

    const end = k.let(min(add(firstQuery, i32(block)), i32(time)));
    k.for(firstBlock(k, firstQuery, block, window), end, block, (firstKey) => {
      eachSum(scores, (sum) => k.set(sum, f32(0)));
      const left = linesOfRows(k, q, firstQuery, block, shape);
      addProduct(k, room, scores, left, linesOfRows(k, key, firstKey, block, shape), width);
      const seen = scores.values.map((row, r) =>
        row.map((_, c) => {
          const query = add(firstQuery, scores.row(r));
          return k.let(sees(query, add(firstKey, scores.column(c)), shape));
        })
      );
      eachSum(scores, (sum, r, c) => {
        k.set(sum, select(seen[r][c], mul(sum, f32(scale * Math.LOG2E)), f32(HIDDEN)));
      });
      const own = scores.values.map((row) => k.let(row.reduce((a, b) => max(a, b))));
      const highest = fold(own, max).map((top, r) => k.let(max(top, tops[r])));
      highest.forEach((top, r) => {
        const shrink = k.let(exp2(k.let(sub(tops[r], top)), k));
        k.set(tops[r], top);
        k.set(sums[r], mul(sums[r], shrink));
        out.values[r].forEach((sum) => k.set(sum, mul(sum, shrink)));
      });
      eachSum(scores, (sum, r, c) => {
        const weight = exp2(k.let(sub(sum, tops[r])), k);
        const value = k.let(select(seen[r][c], weight, f32(0)));
        k.set(sums[r], add(sums[r], value));
        k.write(weights, add(mul(scores.row(r), i32(pitch)), scores.column(c)), value);
      });
      k.barrier();
      const mixed = linesOfTile(k, weights, block, pitch);
      addProduct(k, room, out, mixed, linesOfColumns(k, v, firstKey, shape), block);
    });

    const totals = fold(sums, add);
    out.values.forEach((values, r) => {
      const query = k.let(add(firstQuery, out.row(r)));
      k.if(lessThan(query, i32(time)), () => {
        const factor = k.let(div(f32(1), totals[r]));
        values.forEach((sum, c) => {
          const column = k.let(out.column(c));
          const store = () =>
            k.write(places.output, elementAt(output, query, column), mul(sum, factor));
          if (width % LANES === 0) store();
          else k.if(lessThan(column, i32(width)), store);
        });
        k.if(equal(out.column(0), i32(0)), () => {
          const norm = fma(tops[r], constant("f32", Math.LN2), log(totals[r], k));
          k.write(places.logSumExp, add(mul(head, i32(time)), query), norm);
        });
      });
    });
  });
}
