/** Causal softmax attention on a GPU: a group is a block of queries of one head (flash.ts). */

import { seenPairs } from "../../attention/attention.ts";
import {
  add,
  bitAnd,
  div,
  i32,
  lessThan,
  max,
  min,
  mul,
  rem,
  sub,
} from "../../language/language.ts";
import { attentionBlock, withProducts } from "./products.ts";
import { type GpuBlock, gpuKernel } from "../block.ts";
import { flash, type FlashBlock } from "./flash.ts";
import {
  areWide,
  contiguousHeads,
  elementAt,
  headRows,
  type HeadStrides,
  linesOfColumns,
  linesOfRows,
} from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import type { Index } from "../language.ts";
import type { ProductNumbers } from "../matmul/tiling.ts";

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
  /** Whether q, k and v are read four neighbours at a time. */
  readonly wide?: boolean;
  /** In which numbers it multiplies, f32 by default. */
  readonly numbers?: ProductNumbers;
}

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
  const { q, k, v } = shape;
  if (shape.wide === undefined && areWide(width, [q, k, v])) {
    const otherwise = attention({ ...shape, wide: false });
    return {
      ...attention({ ...shape, wide: true }),
      aligned: { operands: [0, 1, 2], otherwise },
    };
  }
  return {
    key: `attention ${JSON.stringify(shape)}`,
    code: () => attentionCode(shape),
    groups: batch * heads * Math.ceil(time / attentionBlock(time).rows),
    flops: 4 * batch * heads * seenPairs(time, shape.window) * width,
    bytes: 4 * (2 * rows * (heads + kvHeads) + batch * heads * time),
  };
}

function attentionCode(shape: GpuAttentionShape) {
  const { time, heads, kvHeads, width, scale, window } = shape;
  const block = attentionBlock(time, shape.numbers);
  const { rows, columns, threads } = block;
  const blocks = Math.ceil(time / rows);
  const name = shape.numbers === "tf32" ? "attention_tf32" : "attention";
  const operands = { q: "f32", k: "f32", v: "f32", output: "+f32", logSumExp: "+f32" } as const;
  return gpuKernel(name, threads, operands, (k, places) => {
    const head = k.let(div(k.group, i32(blocks)));
    const [b, h] = [k.let(div(head, i32(heads))), k.let(rem(head, i32(heads)))];
    const kv = k.let(div(h, i32(heads / kvHeads)));
    const firstQuery = k.let(mul(rem(k.group, i32(blocks)), i32(rows)));
    const q = headRows(k, places.q, shape.q, b, h);
    const key = headRows(k, places.k, shape.k, b, kv);
    const v = headRows(k, places.v, shape.v, b, kv);
    const output = headRows(k, places.output, contiguousHeads(time, heads, width), b, h);

    const of: FlashBlock = {
      ...{ width, scale, step: columns },
      queries: linesOfRows(k, q, firstQuery, rows, shape),
      keys: (first) => linesOfRows(k, key, first, columns, shape),
      values: (first) => linesOfColumns(k, v, first, shape),
      begin: firstBlock(k, firstQuery, columns, window),
      end: k.let(min(add(firstQuery, i32(rows)), i32(time))),
      sees: (query, other) => sees(add(firstQuery, query), other, shape),
      exists: (query) => lessThan(add(firstQuery, query), i32(time)),
      store: (query, column, value) =>
        k.write(places.output, elementAt(output, add(firstQuery, query), column), value),
      storeNorm: (query, logSumExp) => {
        const at = add(mul(head, i32(time)), add(firstQuery, query));
        k.write(places.logSumExp, at, logSumExp);
      },
    };
    withProducts(k, block, width, (products) => flash(k, products, of));
  });
}
