/**
 * Causal softmax attention with grouped key/value heads, without a [time, time] matrix.
 *
 * Eight queries are two vectors: scores lie transposed, [key, query], so that the largest score and
 * the sum of a query's weights are lanes of a vector. A block of keys gives scores K·Qᵀ and outputs
 * Vᵀ·P, both by tiles of 6 rows × 2 vectors that stay in registers, with K and V read where they
 * are. The softmax runs along the blocks (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
 * FlashAttention) in powers of 2.
 */

import { downTo, eachTile, LANES, packTile, QUERY_LANES, TILE_ROW } from "./attention_tiles.ts";
import {
  add,
  type Block,
  constant,
  div,
  fma,
  i32,
  lane,
  lessThan,
  load,
  max,
  min,
  mul,
  offset,
  select,
  splat,
  sub,
  toF32,
} from "./language.ts";
import { exp2, log } from "./math.ts";
import { accumulate, eachRowTile, loadTile, ROWS, storeTile, tileOf } from "./products.ts";
import {
  at,
  F32,
  type Index,
  type Pointer,
  type Rows,
  transpose,
  type V,
  variable,
  VECTOR,
  zeros,
} from "./vectors.ts";

/** Tiles of queries that one work item takes through the keys together. */
const TILES = 4;

/** Keys of a block, a multiple of ROWS: about as many as the nearest cache holds. */
const keyBlock = (width: number) => width <= 64 ? 96 : 48;

/**
 * The running maximum of a query that has seen no key yet: less than any score, and unlike −∞
 * still a number when a score of −∞, that of a hidden key, is subtracted.
 */
const LOWEST = -3.4028234663852886e38;

/** What one work item of attention reads and writes. */
export interface FlashItem {
  readonly width: number;
  readonly scale: number;
  /** Latest keys that a query sees, its own included; every earlier one where it is missing. */
  readonly window?: number;
  /** Queries, and rows that exist of keys and values. */
  readonly time: number;
  readonly capacity: number;
  /** Position of query 0 among the keys. */
  readonly start: Index;
  /** First query of the item. */
  readonly firstQuery: Index;
  readonly q: Rows;
  readonly k: Rows;
  readonly v: Rows;
  readonly output: Rows;
  /** Where the log-sum-exp of query 0 goes. */
  readonly logSumExp?: Pointer;
  readonly scratch: Pointer;
}

/** Queries of a work item. */
export const FLASH_QUERIES = TILES * LANES;

/** Bytes of one tile's queries or outputs, and of its running maxima and sums. */
const tileBytes = (width: number) => width * TILE_ROW;

/** Scratch memory of a work item. */
export const flashScratch = (width: number) =>
  TILES * (2 * tileBytes(width) + 2 * TILE_ROW) + keyBlock(width) * TILE_ROW;

/** One work item: a block of queries of one head against all keys up to their positions. */
export function flash(k: Block, item: FlashItem): void {
  const { width, time, start, firstQuery, window } = item;
  const block = keyBlock(width);
  const tile = tileBytes(width);
  const scratch = (bytes: number) => k.let(offset(item.scratch, bytes));
  const [queries, outputs] = [scratch(0), scratch(TILES * tile)];
  const [running, scores] = [scratch(2 * TILES * tile), scratch(TILES * (2 * tile + 2 * TILE_ROW))];
  const left = k.let(sub(i32(time), firstQuery));
  const tiles = k.let(min(div(add(left, i32(LANES - 1)), i32(LANES)), i32(TILES)));
  const keys = k.let(add(add(start, firstQuery), min(left, i32(FLASH_QUERIES))));
  const firstOf = (index: Index) => k.let(add(firstQuery, mul(index, i32(LANES))));

  k.for(0, tiles, 1, (index) => {
    packTile(k, item.q, width, time, firstOf(index), k.let(at(queries, index, tile)), {
      factor: item.scale * Math.LOG2E,
    });
    k.zero(at(outputs, index, tile), tile);
    const state = k.let(at(running, index, 2 * TILE_ROW));
    for (const half of [0, VECTOR]) {
      k.store(constant("f32x4", LOWEST), state, half);
      k.store(constant("f32x4", 0), state, TILE_ROW + half);
    }
  });

  // The block with the first key that the first query sees.
  const begin = window === undefined
    ? i32(0)
    : k.let(downTo(block, max(add(add(start, firstQuery), i32(1 - window)), i32(0))));
  k.for(begin, keys, block, (firstKey) => {
    const keyRows = k.let(at(item.k.first, firstKey, item.k.stride));
    const valueRows = k.let(at(item.v.first, firstKey, item.v.stride));
    const inBlock = k.let(min(sub(keys, firstKey), i32(block)));
    k.for(0, tiles, 1, (index) => {
      // Positions of the tile's first query and of the key after its last, inside the block.
      const own = k.let(sub(add(start, firstOf(index)), firstKey));
      const count = k.let(min(inBlock, add(own, i32(LANES))));
      // Keys of the block before this one are those that no query of the tile sees.
      const low = window === undefined
        ? i32(0)
        : k.let(downTo(ROWS, max(add(own, i32(1 - window)), i32(0))));
      k.if(lessThan(low, count), () => {
        const tileQueries = k.let(at(queries, index, tile));
        eachTile(k, low, count, { first: firstKey, rows: item.capacity }, (row, rows) => {
          const sums = tileOf(k, rows);
          accumulate(k, sums, {
            a: k.let(at(keyRows, row, item.k.stride)),
            aRow: item.k.stride,
            aStep: F32,
            b: tileQueries,
            bStep: TILE_ROW,
            count: width,
          });
          storeTile(k, sums, k.let(at(scores, row, TILE_ROW)), TILE_ROW);
        });
        hideFuture(k, scores, own, count);
        if (window !== undefined) hidePast(k, scores, own, window, { low, count });
        const state = k.let(at(running, index, 2 * TILE_ROW));
        const shrink = weigh(k, scores, { low, count }, state);
        const out = k.let(at(outputs, index, tile));
        eachRowTile(k, width, (row, rows) => {
          const to = k.let(at(out, row, TILE_ROW));
          const sums = loadTile(k, rows, 2, to, TILE_ROW, (value, v) => mul(value, shrink[v]));
          accumulate(k, sums, {
            a: k.let(at(at(valueRows, low, item.v.stride), row, F32)),
            aRow: F32,
            aStep: item.v.stride,
            b: k.let(at(scores, low, TILE_ROW)),
            bStep: TILE_ROW,
            count: window === undefined ? count : k.let(sub(count, low)),
          });
          storeTile(k, sums, to, TILE_ROW);
        });
      });
    });
  });

  k.for(0, tiles, 1, (index) => {
    const [out, state] = [k.let(at(outputs, index, tile)), k.let(at(running, index, 2 * TILE_ROW))];
    finishTile(k, item, firstOf(index), out, state);
  });
}

/** −∞ for keys after the query. `own` is the place of the tile's first query in the block. */
function hideFuture(k: Block, scores: Pointer, own: Index, count: Index): void {
  k.for(k.let(max(add(own, i32(1)), i32(0))), count, 1, (key) => {
    const row = k.let(at(scores, key, TILE_ROW));
    const place = k.let(splat(toF32(sub(key, own))));
    QUERY_LANES.forEach((query, v) => {
      const score = load("f32x4", row, v * VECTOR);
      const hidden = lessThan(query, place);
      k.store(select(hidden, constant("f32x4", -Infinity), score), row, v * VECTOR);
    });
  });
}

/** −∞ for keys before the query's window. `own` is the place of the tile's first query. */
function hidePast(
  k: Block,
  scores: Pointer,
  own: Index,
  window: number,
  { low, count }: KeyRange,
): void {
  k.for(low, k.let(min(add(own, i32(LANES - window)), count)), 1, (key) => {
    const row = k.let(at(scores, key, TILE_ROW));
    const last = k.let(splat(toF32(add(sub(key, own), i32(window - 1)))));
    QUERY_LANES.forEach((query, v) => {
      const score = load("f32x4", row, v * VECTOR);
      const hidden = lessThan(last, query);
      k.store(select(hidden, constant("f32x4", -Infinity), score), row, v * VECTOR);
    });
  });
}

/** Keys of a block, by their places: the first, and the one after the last. */
interface KeyRange {
  readonly low: Index;
  readonly count: Index;
}

/**
 * Turns a block's scores into weights 2^(score − maximum) and brings the running maxima and sums up
 * to date; returns what earlier outputs are to be multiplied with.
 */
function weigh(k: Block, scores: Pointer, { low, count }: KeyRange, state: Pointer): V[] {
  const before = [0, 1].map((v) => k.let(load("f32x4", state, v * VECTOR)));
  const top = before.map((x) => variable(k, x));
  k.for(low, count, 1, (key) => {
    const row = k.let(at(scores, key, TILE_ROW));
    top.forEach((x, v) => k.set(x, max(x, load("f32x4", row, v * VECTOR))));
  });
  const shrink = before.map((x, v) => k.let(exp2(k.let(sub(x, top[v])), k)));
  const total = zeros(k, 2);
  k.for(low, count, 1, (key) => {
    const row = k.let(at(scores, key, TILE_ROW));
    total.forEach((sum, v) => {
      const score = load("f32x4", row, v * VECTOR);
      const weight = k.let(exp2(k.let(sub(score, top[v])), k));
      k.store(weight, row, v * VECTOR);
      k.set(sum, add(sum, weight));
    });
  });
  top.forEach((x, v) => {
    k.store(x, state, v * VECTOR);
    const sum = load("f32x4", state, TILE_ROW + v * VECTOR);
    k.store(fma(sum, shrink[v], total[v]), state, TILE_ROW + v * VECTOR);
  });
  return shrink;
}

/** Divides a tile's outputs by their sums and writes them, and the log-sum-exp, as rows. */
function finishTile(
  k: Block,
  { width, time, output, logSumExp }: FlashItem,
  first: Index,
  out: Pointer,
  state: Pointer,
): void {
  for (const half of [0, 1]) {
    const sum = k.let(load("f32x4", state, TILE_ROW + half * VECTOR));
    const factor = k.let(div(constant("f32x4", 1), sum));
    const top = load("f32x4", state, half * VECTOR);
    const norm = k.let(fma(top, constant("f32x4", Math.LN2), log(sum, k)));
    const queries = Array.from({ length: 4 }, (_, i) => k.let(add(first, i32(half * 4 + i))));
    const rows = queries.map((query) => k.let(at(output.first, query, output.stride)));
    const exists = (query: Index, write: () => void) =>
      time % LANES === 0 ? write() : k.if(lessThan(query, i32(time)), write);
    queries.forEach((query, i) => {
      if (logSumExp === undefined) return;
      exists(query, () => k.store(lane(norm, i), at(logSumExp, query, F32)));
    });
    k.for(0, width, 4, (place) => {
      const from = k.let(at(out, place, TILE_ROW));
      const four = Array.from(
        { length: 4 },
        (_, i) => k.let(mul(load("f32x4", from, i * TILE_ROW + half * VECTOR), factor)),
      );
      transpose(k, four).forEach((row, i) => {
        exists(queries[i], () => k.store(row, at(rows[i], place, F32)));
      });
    });
  }
}
