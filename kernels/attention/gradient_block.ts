/**
 * A block of queries of attention's gradient (gradient.ts): how it is packed, and what it
 * and a block of keys add to the gradients.
 */

import { eachTile, packTile, queryLanes, tileQueries, tileRow } from "./tiles.ts";
import type { Block } from "../language/block.ts";
import {
  add,
  constant,
  div,
  fma,
  i32,
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
import { exp2 } from "../language/math.ts";
import {
  accumulate,
  eachColumns,
  further,
  loadTile,
  type Product,
  ROWS,
  storeTile,
  tileOf,
} from "../products.ts";
import { scratchLayout } from "../scratch.ts";
import {
  at,
  F32,
  FOUR,
  type Index,
  type Pointer,
  type Rows,
  sums,
  type V,
  zeros,
} from "../language/vectors.ts";

/** Queries and keys of a block: a multiple of a tile's queries and of ROWS. */
export const BLOCK = 48;
/** Bytes of a row of p or dscore. */
const ROW = BLOCK * F32;

/** What a block needs of scratch memory. */
export function blockScratch(width: number) {
  const packed = BLOCK * width * F32;
  return scratchLayout({
    ...{ queries: packed, dOutputs: packed },
    /** The log-sum-exp of every query, and D. */
    ...{ norms: ROW, dots: ROW },
    ...{ weights: BLOCK * ROW, dScores: BLOCK * ROW },
  });
}

/** What one block of queries works with. */
export interface QueryBlock {
  readonly width: number;
  readonly time: number;
  readonly scale: number;
  readonly window?: number;
  readonly first: Index;
  /** Queries of the block that exist. */
  readonly count: Index;
  readonly q: Rows;
  readonly dOutput: Rows;
  readonly k: Rows;
  readonly v: Rows;
  readonly dq: Rows;
  readonly dk: Rows;
  readonly dv: Rows;
  readonly scratch: Readonly<Record<keyof ReturnType<typeof blockScratch>["places"], Pointer>>;
}

/** Writes zeros to rows from one on up to another. */
export function clearRows(k: Block, rows: Rows, width: number, begin: Index, end: Index): void {
  k.for(begin, k.let(end), 1, (row) => k.zero(at(rows.first, row, rows.stride), width * F32));
}

/**
 * Packs a block's queries, times scale and log₂ e, and dO; writes the log-sum-exp in powers of 2 and
 * D. A query that does not exist gets a log-sum-exp of ∞, so that its weights are 0.
 */
export function packBlock(k: Block, block: QueryBlock, output: Rows, logSumExp: Pointer): void {
  const { width, time, scale, first, count, scratch } = block;
  const [size, tileBytes] = [tileQueries(k), tileRow(k)];
  const tiles = k.let(div(add(count, i32(size - 1)), i32(size)));
  k.for(0, tiles, 1, (tile) => {
    const query = k.let(add(first, mul(tile, i32(size))));
    const packed = (base: Pointer) => k.let(at(base, tile, width * tileBytes));
    packTile(k, block.q, width, time, query, packed(scratch.queries), {
      factor: scale * Math.LOG2E,
    });
    const fours = size / 4;
    const dots = Array.from({ length: fours }, () => zeros(k.withLanes(4), 4));
    const rows = Array.from({ length: size }, (_, i) => {
      const row = min(add(query, i32(i)), i32(time - 1));
      return k.let(at(output.first, row, output.stride));
    });
    packTile(k, block.dOutput, width, time, query, packed(scratch.dOutputs), {
      each: (four, lanes, place) => {
        lanes.forEach((dOutput, i) => {
          const o = load("f32x4", at(rows[four * 4 + i], place, F32));
          k.set(dots[four][i], fma(dOutput, o, dots[four][i]));
        });
      },
    });
    const to = k.let(at(scratch.dots, tile, tileBytes));
    dots.forEach(([a, b, c, d], four) => k.store(sums(k, a, b, c, d), to, four * FOUR));
    for (let i = 0; i < size; i++) {
      const own = k.let(add(query, i32(i)));
      const exists = lessThan(own, i32(time));
      const norm = load("f32", at(logSumExp, min(own, i32(time - 1)), F32));
      const bits = mul(norm, constant("f32", Math.LOG2E));
      const value = select(exists, bits, constant("f32", Infinity));
      k.store(value, at(scratch.norms, tile, tileBytes), i * F32);
    }
  });
}

/** A block of queries and a block of keys: their weights, then what they add to the gradients. */
export function keyBlock(k: Block, block: QueryBlock, firstKey: Index): void {
  const { width, time, window, first, count, scratch } = block;
  const keys = k.let(min(sub(add(first, count), firstKey), i32(BLOCK)));
  const size = tileQueries(k);
  // The place of the first query among the block's keys.
  const own = k.let(sub(first, firstKey));
  const rowAt = (rows: Rows, row: Index) => at(rows.first, row, rows.stride);
  eachTile(k, 0, keys, { first: firstKey, rows: time }, (row, rows) => {
    const key = k.let(add(firstKey, row));
    // Queries before the first key of the tile do not see it.
    const unseen = k.let(max(sub(row, own), i32(0)));
    const firstTile = k.let(div(unseen, i32(size)));
    // Nor do those from `end` on, a window after the last of them; dq reads up to ROWS − 1 further.
    const end = window === undefined
      ? count
      : k.let(max(min(count, add(sub(row, own), i32(rows - 1 + window))), unseen));
    const weighed = window === undefined ? count : min(count, add(end, i32(ROWS - 1)));
    const tiles = k.let(div(add(weighed, i32(size - 1)), i32(size)));
    k.for(firstTile, tiles, 1, (tile) => {
      weighTile(k, block, { row, rows, key, tile, own });
    });
    // dv and dk of these keys, over the queries that see them.
    const sides = [
      { to: block.dv, from: block.dOutput, weights: scratch.weights },
      { to: block.dk, from: block.q, weights: scratch.dScores },
    ];
    for (const { to, from, weights } of sides) {
      const left = k.let(offset(at(weights, row, ROW), mul(unseen, i32(F32))));
      const right = k.let(rowAt(from, k.let(add(first, unseen))));
      const out = k.let(rowAt(to, key));
      addProduct(k, rows, width, out, to.stride, {
        ...{ a: left, aRow: ROW, aStep: F32 },
        ...{ b: right, bStep: from.stride, count: k.let(sub(end, unseen)) },
      });
    }
  });
  // dq, over the keys that the queries see.
  eachTile(k, 0, count, { first, rows: time }, (row, rows) => {
    const seen = k.let(min(keys, add(add(own, row), i32(rows))));
    const low = window === undefined
      ? i32(0)
      : k.let(min(seen, max(add(add(own, row), i32(1 - window)), i32(0))));
    addProduct(k, rows, width, k.let(rowAt(block.dq, k.let(add(first, row)))), block.dq.stride, {
      ...{ a: k.let(at(at(scratch.dScores, low, ROW), row, F32)), aRow: F32, aStep: ROW },
      ...{ b: k.let(rowAt(block.k, add(firstKey, low))), bStep: block.k.stride },
      count: window === undefined ? seen : k.let(sub(seen, low)),
    });
  });
}

/** Adds a product with rows of a width as its right side to rows in memory. */
function addProduct(
  k: Block,
  rows: number,
  width: number,
  to: Pointer,
  stride: number,
  product: Product,
): void {
  eachColumns(k, width, (bytes, vectors) => {
    const out = k.let(further(to, bytes));
    const sums = loadTile(k, rows, vectors, out, stride);
    accumulate(k, sums, { ...product, b: further(product.b, bytes) });
    storeTile(k, sums, out, stride);
  });
}

/** p and dscore of a tile of keys and a tile of queries. */
function weighTile(
  k: Block,
  { width, scale, window, k: keys, v: values, scratch }: QueryBlock,
  { row, rows, key, tile, own }: {
    readonly row: Index;
    readonly rows: number;
    readonly key: Index;
    readonly tile: Index;
    readonly own: Index;
  },
): void {
  const [size, tileBytes] = [tileQueries(k), tileRow(k)];
  const place = k.let(add(mul(row, i32(ROW)), mul(tile, i32(tileBytes))));
  const [weights, dScores] = [scratch.weights, scratch.dScores].map((base) =>
    k.let(offset(base, place))
  );
  const product = (rowsOf: Rows, packed: Pointer): V[][] => {
    const sums = tileOf(k, rows);
    accumulate(k, sums, {
      ...{ a: k.let(at(rowsOf.first, key, rowsOf.stride)), aRow: rowsOf.stride, aStep: F32 },
      ...{ b: k.let(at(packed, tile, width * tileBytes)), bStep: tileBytes, count: width },
    });
    return sums;
  };
  const ofTile = (base: Pointer) =>
    [0, 1].map((v) => k.let(load(k.vector, at(base, tile, tileBytes), v * k.vectorBytes)));
  const scores = product(keys, scratch.queries);
  const norms = ofTile(scratch.norms);
  storeTile(
    k,
    scores.map((sums) => sums.map((score, v) => k.let(exp2(k.let(sub(score, norms[v])), k)))),
    weights,
    ROW,
  );
  // Keys after the query weigh nothing, nor do those before its window.
  const firstQuery = k.let(add(own, mul(tile, i32(size))));
  const hide = (beyond: number, isHidden: (query: V, key: V) => V) => {
    for (let r = 0; r < rows; r++) {
      const key = k.let(splat(toF32(sub(add(row, i32(r + beyond)), firstQuery)), k.vector));
      queryLanes(k).forEach((query, v) => {
        const bytes = r * ROW + v * k.vectorBytes;
        const seen = load(k.vector, weights, bytes);
        k.store(select(isHidden(query, key), constant(k.vector, 0), seen), weights, bytes);
      });
    }
  };
  k.if(lessThan(firstQuery, add(row, i32(rows - 1))), () => {
    hide(0, (query, key) => lessThan(query, key));
  });
  if (window !== undefined) {
    k.if(lessThan(add(row, i32(window)), add(firstQuery, i32(size))), () => {
      hide(window - 1, (query, last) => lessThan(last, query));
    });
  }
  const dWeights = product(values, scratch.dOutputs);
  const dots = ofTile(scratch.dots);
  const factor = constant(k.vector, scale);
  dWeights.forEach((sums, r) =>
    sums.forEach((dWeight, v) => {
      const weight = mul(load(k.vector, weights, r * ROW + v * k.vectorBytes), factor);
      k.store(mul(weight, sub(dWeight, dots[v])), dScores, r * ROW + v * k.vectorBytes);
    })
  );
}
