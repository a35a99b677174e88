/**
 * Attention over a cache of keys and values that grows in place.
 *
 * New tokens are read from where they come from, never from the cache, so that heads may attend while
 * one of them writes. Only in a full ring do several tokens overwrite what others still see: there a
 * group has all query heads of a key/value head, and writes when they are done.
 */

import { type CachedAttentionShape, checkCached } from "../../attention/cached.ts";
import {
  add,
  bitAnd,
  div,
  equal,
  i32,
  lessThan,
  max,
  min,
  mul,
  rem,
  sub,
} from "../../language/language.ts";
import type { GpuAttentionShape } from "./attention.ts";
import { attentionBlock, vectorProducts } from "./products.ts";
import { type GpuBlock, gpuKernel, type OperandTypes } from "../block.ts";
import { flash } from "./flash.ts";
import {
  contiguousHeads,
  elementAt,
  type HeadRows,
  headRows,
  linesOfRows,
  padded,
} from "../heads.ts";
import type { GpuKernel } from "../kernel.ts";
import { f32, type Index, type Place } from "../language.ts";
import { type Side, TILE_THREADS } from "../matmul/products.ts";

/** What a cached attention kernel is made for. */
export interface GpuCachedAttentionShape extends GpuAttentionShape {
  /** Rows of the caches [batch, kv heads, capacity, width]. */
  readonly capacity: number;
}

/** Whether a cache is written round and round. */
export const isRing = ({ window, capacity }: Pick<CachedAttentionShape, "window" | "capacity">) =>
  window === capacity;

/**
 * Operands q, k, v, keys, values, start (i32 [batch]) → output; keys and values are written at
 * start … start+time−1, where the capacity is the window modulo that. A start that does not leave
 * room is moved to where it does.
 */
export function cachedAttention(shape: GpuCachedAttentionShape): GpuKernel {
  const { batch, time, heads, kvHeads, width, capacity } = shape;
  checkCached(shape);
  const together = isRing(shape) && time > 1;
  const blocks = Math.ceil(time / attentionBlock(time).rows);
  return {
    key: `cached_attention ${JSON.stringify(shape)}`,
    code: () => cachedAttentionCode(shape, together),
    groups: together ? batch * kvHeads : batch * heads * blocks,
    flops: 4 * batch * heads * time * capacity * width,
    bytes: 4 * 2 * batch * (kvHeads * capacity + time * (heads + kvHeads)) * width,
    inPlace: [3, 4],
  };
}

/** New rows and a cache of the earlier ones, by position. */
interface Positions {
  readonly start: Index;
  readonly row: (position: Index) => Index;
  readonly time: number;
  readonly width: number;
}

/** Reads a column of the row of a position. */
function readPosition(
  k: GpuBlock,
  fresh: HeadRows,
  cache: HeadRows,
  position: Index,
  column: Index,
  { start, row, time, width }: Positions,
) {
  const value = k.variable(f32(0));
  const inside = k.let(min(column, i32(width - 1)));
  k.if(
    lessThan(position, start),
    () => k.set(value, k.read(cache.place, elementAt(cache, row(position), inside))),
    () => {
      const own = min(sub(position, start), i32(time - 1));
      k.set(value, k.read(fresh.place, elementAt(fresh, own, inside)));
    },
  );
  return value;
}

function cachedAttentionCode(shape: GpuCachedAttentionShape, together: boolean) {
  const { time, heads, kvHeads, width, capacity, scale } = shape;
  const ring = isRing(shape);
  const ofBlock = attentionBlock(time);
  const block = ofBlock.rows;
  const blocks = Math.ceil(time / block);
  const members = heads / kvHeads;
  const operands = {
    ...{ q: "f32", k: "f32", v: "f32", keys: "+f32", values: "+f32", start: "i32" },
    ...{ output: "+f32" },
  } as const satisfies OperandTypes;
  return gpuKernel("cached_attention", TILE_THREADS, operands, (k, places) => {
    const perBatch = together ? kvHeads : heads * blocks;
    const b = k.let(div(k.group, i32(perBatch)));
    const item = k.let(rem(k.group, i32(perBatch)));
    const kv = k.let(together ? item : div(item, i32(members * blocks)));
    const wanted = k.read(places.start, b);
    const start = k.uniform(max(ring ? wanted : min(wanted, i32(capacity - time)), i32(0)));
    const row = (position: Index) => ring ? rem(position, i32(capacity)) : position;
    const positions = { start, row, time, width };
    const cacheStrides = [kvHeads * capacity * width, width, capacity * width] as const;
    const cache = (place: Place<"f32">) => headRows(k, place, cacheStrides, b, kv);
    const sides = [
      { fresh: headRows(k, places.k, shape.k, b, kv), cache: cache(places.keys) },
      { fresh: headRows(k, places.v, shape.v, b, kv), cache: cache(places.values) },
    ] as const;
    const products = vectorProducts(k, ofBlock, width);
    const attend = (h: Index, firstQuery: Index) => {
      const q = headRows(k, places.q, shape.q, b, h);
      const output = headRows(k, places.output, contiguousHeads(time, heads, width), b, h);
      const first = k.let(add(start, firstQuery));
      const end = k.let(min(add(first, i32(block)), add(start, i32(time))));
      const oldest = max(sub(first, i32(capacity - 1)), i32(0));
      const side = (of: typeof sides[number], from: Index, lines: number, rows: boolean): Side => ({
        lines,
        lies: rows ? "along" : "across",
        read: (line, step) => {
          const position = k.let(add(from, rows ? line : step));
          return readPosition(k, of.fresh, of.cache, position, rows ? step : line, positions);
        },
      });
      flash(k, products, {
        ...{ width, scale, end, step: block },
        queries: linesOfRows(k, q, firstQuery, block, shape),
        keys: (from) => side(sides[0], from, block, true),
        values: (from) => side(sides[1], from, padded(width), false),
        begin: ring ? k.let(oldest) : i32(0),
        sees: (query, key) => {
          const own = k.let(add(first, query));
          const causal = bitAnd(lessThan(key, add(own, i32(1))), lessThan(key, end));
          return ring ? bitAnd(causal, lessThan(sub(own, i32(capacity)), key)) : causal;
        },
        exists: (query) => lessThan(add(firstQuery, query), i32(time)),
        store: (query, column, value) =>
          k.write(places.output, elementAt(output, add(firstQuery, query), column), value),
      });
    };
    const write = () => {
      const from = Math.max(0, time - capacity);
      k.for(add(k.thread, i32(from * width)), time * width, TILE_THREADS, (element) => {
        const token = k.let(div(element, i32(width)));
        const column = k.let(rem(element, i32(width)));
        const to = k.let(row(add(start, token)));
        for (const { fresh, cache } of sides) {
          const value = k.read(fresh.place, elementAt(fresh, token, column));
          k.write(cache.place, elementAt(cache, to, column), value);
        }
      });
    };
    if (together) {
      k.for(0, members, 1, (member) => {
        const h = k.let(add(mul(kv, i32(members)), member));
        k.for(0, time, block, (firstQuery) => attend(h, firstQuery));
      });
      k.barrier("operands");
      write();
    } else {
      const h = k.let(div(item, i32(blocks)));
      const own = k.let(rem(item, i32(blocks)));
      attend(h, k.let(mul(own, i32(block))));
      const first = equal(rem(h, i32(members)), i32(0));
      k.if(bitAnd(first, equal(own, i32(0))), write);
    }
  });
}
