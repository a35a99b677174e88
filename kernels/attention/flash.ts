/**
 * Causal softmax attention with grouped key/value heads, without a [time, time] matrix.
 *
 * A tile of queries is two vectors: scores lie transposed, [key, query], so that the largest score and
 * the sum of a query's weights are lanes of a vector. A block of keys gives scores K·Qᵀ and outputs
 * Vᵀ·P, both by tiles of 6 rows × 2 vectors that stay in registers, with K and V read where they
 * are. The softmax runs along the blocks (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
 * FlashAttention) in powers of 2.
 */

import { downTo, eachTile, packTile, queryLanes, tileQueries, tileRow } from "./tiles.ts";
import type { Block } from "../language/block.ts";
import {
  add,
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
} from "../language/language.ts";
import type { Lanes } from "../language/syntax.ts";
import { exp2, log } from "../language/math.ts";
import { accumulate, eachRowTile, loadTile, ROWS, storeTile, tileOf } from "../products.ts";
import {
  at,
  F32,
  FOUR,
  type Index,
  type Pointer,
  type Rows,
  transpose,
  type V,
  variable,
  WIDEST,
  zeros,
} from "../language/vectors.ts";

/** Queries that one work item takes through the keys together, as one tile or several. */
export const FLASH_QUERIES = 32;

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

/** Scratch memory of a work item: queries, outputs, running maxima and sums, and scores. */
export const flashScratch = (width: number) =>
  FLASH_QUERIES * F32 * (2 * width + 2) + keyBlock(width) * 2 * WIDEST;

/** The most lanes up to some whose tiles so many queries fill by more than half. */
export const flashLanes = (most: Lanes, time: number): Lanes =>
  ([16, 8] as const).find((lanes) => lanes <= most && time > lanes) ?? 4;

/** One work item: a block of queries of one head against all keys up to their positions. */
export function flash(k: Block, item: FlashItem): void {
  const { width, time, start, firstQuery, window } = item;
  const block = keyBlock(width);
  const [size, tileBytes] = [tileQueries(k), tileRow(k)];
  const tilesOfItem = FLASH_QUERIES / size;
  const tile = width * tileBytes;
  const scratch = (bytes: number) => k.let(offset(item.scratch, bytes));
  const [queries, outputs] = [scratch(0), scratch(tilesOfItem * tile)];
  const [running, scores] = [
    scratch(2 * tilesOfItem * tile),
    scratch(tilesOfItem * (2 * tile + 2 * tileBytes)),
  ];
  const left = k.let(sub(i32(time), firstQuery));
  const tiles = k.let(min(div(add(left, i32(size - 1)), i32(size)), i32(tilesOfItem)));
  const keys = k.let(add(add(start, firstQuery), min(left, i32(FLASH_QUERIES))));
  const firstOf = (index: Index) => k.let(add(firstQuery, mul(index, i32(size))));

  k.for(0, tiles, 1, (index) => {
    packTile(k, item.q, width, time, firstOf(index), k.let(at(queries, index, tile)), {
      factor: item.scale * Math.LOG2E,
    });
    k.zero(at(outputs, index, tile), tile);
    const state = k.let(at(running, index, 2 * tileBytes));
    for (const part of [0, k.vectorBytes]) {
      k.store(constant(k.vector, LOWEST), state, part);
      k.store(constant(k.vector, 0), state, tileBytes + part);
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
      const count = k.let(min(inBlock, add(own, i32(size))));
      // Keys of the block before this one are those that no query of the tile sees.
      const low = window === undefined
        ? i32(0)
        : k.let(downTo(ROWS, max(add(own, i32(1 - window)), i32(0))));
      k.if(lessThan(low, count), () => {
        const ownQueries = k.let(at(queries, index, tile));
        eachTile(k, low, count, { first: firstKey, rows: item.capacity }, (row, rows) => {
          const sums = tileOf(k, rows);
          accumulate(k, sums, {
            a: k.let(at(keyRows, row, item.k.stride)),
            aRow: item.k.stride,
            aStep: F32,
            b: ownQueries,
            bStep: tileBytes,
            count: width,
          });
          storeTile(k, sums, k.let(at(scores, row, tileBytes)), tileBytes);
        });
        hideFuture(k, scores, own, count);
        if (window !== undefined) hidePast(k, scores, own, window, { low, count });
        const state = k.let(at(running, index, 2 * tileBytes));
        const shrink = weigh(k, scores, { low, count }, state);
        const out = k.let(at(outputs, index, tile));
        eachRowTile(k, width, (row, rows) => {
          const to = k.let(at(out, row, tileBytes));
          const sums = loadTile(k, rows, 2, to, tileBytes, (value, v) => mul(value, shrink[v]));
          accumulate(k, sums, {
            a: k.let(at(at(valueRows, low, item.v.stride), row, F32)),
            aRow: F32,
            aStep: item.v.stride,
            b: k.let(at(scores, low, tileBytes)),
            bStep: tileBytes,
            count: window === undefined ? count : k.let(sub(count, low)),
          });
          storeTile(k, sums, to, tileBytes);
        });
      });
    });
  });

  k.for(0, tiles, 1, (index) => {
    const [out, state] = [
      k.let(at(outputs, index, tile)),
      k.let(at(running, index, 2 * tileBytes)),
    ];
    finishTile(k, item, firstOf(index), out, state);
  });
}

/** −∞ for keys after the query. `own` is the place of the tile's first query in the block. */
function hideFuture(k: Block, scores: Pointer, own: Index, count: Index): void {
  const tileBytes = tileRow(k);
  k.for(k.let(max(add(own, i32(1)), i32(0))), count, 1, (key) => {
    const row = k.let(at(scores, key, tileBytes));
    const place = k.let(splat(toF32(sub(key, own)), k.vector));
    queryLanes(k).forEach((query, v) => {
      const score = load(k.vector, row, v * k.vectorBytes);
      const hidden = lessThan(query, place);
      k.store(select(hidden, constant(k.vector, -Infinity), score), row, v * k.vectorBytes);
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
  const [size, tileBytes] = [tileQueries(k), tileRow(k)];
  k.for(low, k.let(min(add(own, i32(size - window)), count)), 1, (key) => {
    const row = k.let(at(scores, key, tileBytes));
    const last = k.let(splat(toF32(add(sub(key, own), i32(window - 1))), k.vector));
    queryLanes(k).forEach((query, v) => {
      const score = load(k.vector, row, v * k.vectorBytes);
      const hidden = lessThan(last, query);
      k.store(select(hidden, constant(k.vector, -Infinity), score), row, v * k.vectorBytes);
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
  const tileBytes = tileRow(k);
  const before = [0, 1].map((v) => k.let(load(k.vector, state, v * k.vectorBytes)));
  const top = before.map((x) => variable(k, x));
  k.for(low, count, 1, (key) => {
    const row = k.let(at(scores, key, tileBytes));
    top.forEach((x, v) => k.set(x, max(x, load(k.vector, row, v * k.vectorBytes))));
  });
  const shrink = before.map((x, v) => k.let(exp2(k.let(sub(x, top[v])), k)));
  const total = zeros(k, 2);
  k.for(low, count, 1, (key) => {
    const row = k.let(at(scores, key, tileBytes));
    total.forEach((sum, v) => {
      const score = load(k.vector, row, v * k.vectorBytes);
      const weight = k.let(exp2(k.let(sub(score, top[v])), k));
      k.store(weight, row, v * k.vectorBytes);
      k.set(sum, add(sum, weight));
    });
  });
  top.forEach((x, v) => {
    k.store(x, state, v * k.vectorBytes);
    const sum = load(k.vector, state, tileBytes + v * k.vectorBytes);
    k.store(fma(sum, shrink[v], total[v]), state, tileBytes + v * k.vectorBytes);
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
  const [size, tileBytes] = [tileQueries(k), tileRow(k)];
  for (let four = 0; four < size / 4; four++) {
    const sum = k.let(load("f32x4", state, tileBytes + four * FOUR));
    const factor = k.let(div(constant("f32x4", 1), sum));
    const top = load("f32x4", state, four * FOUR);
    const norm = k.let(fma(top, constant("f32x4", Math.LN2), log(sum, k)));
    const queries = Array.from({ length: 4 }, (_, i) => k.let(add(first, i32(four * 4 + i))));
    const rows = queries.map((query) => k.let(at(output.first, query, output.stride)));
    const exists = (query: Index, write: () => void) =>
      time % size === 0 ? write() : k.if(lessThan(query, i32(time)), write);
    queries.forEach((query, i) => {
      if (logSumExp === undefined) return;
      exists(query, () => k.store(lane(norm, i), at(logSumExp, query, F32)));
    });
    k.for(0, width, 4, (place) => {
      const from = k.let(at(out, place, tileBytes));
      const columns = Array.from(
        { length: 4 },
        (_, i) => k.let(mul(load("f32x4", from, i * tileBytes + four * FOUR), factor)),
      );
      transpose(k, columns).forEach((row, i) => {
        exists(queries[i], () => k.store(row, at(rows[i], place, F32)));
      });
    });
  }
}
