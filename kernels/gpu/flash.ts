/**
 * A block of queries of one head over blocks of keys, with a running maximum and sum (Dao et al.,
 * FlashAttention).
 */

import {
  add,
  constant,
  div,
  equal,
  fma,
  i32,
  lessThan,
  max,
  mul,
  select,
  sub,
} from "../language.ts";
import { exp2, log } from "../math.ts";
import { padded } from "./heads.ts";
import { f32, type Float, type GpuBlock, type Index, type Place } from "./language.ts";
import { foldLanes } from "./fold.ts";
import {
  addProduct,
  eachSum,
  LANES,
  productSums,
  shareTile,
  type Side,
  type Stretches,
  stretches,
  TILE_THREADS,
} from "./products.ts";

/** Less than any score, and still a number. */
const HIDDEN = -1e30;

/** Steps of a stretch: all shared memory stays within 32 KiB up to a width of 128. */
export const FLASH_DEPTH = 8;

/** Shared memory of blocks of so many queries and keys. */
export interface FlashRoom {
  readonly block: number;
  readonly products: Stretches;
  /** [keys][queries], rows of `pitch`. */
  readonly weights: Place<"f32">;
  readonly pitch: number;
}

/** Shared memory for blocks of queries and keys of a width. */
export function flashRoom(k: GpuBlock, block: number, width: number): FlashRoom {
  const pitch = block + 4;
  return {
    ...{ block, pitch },
    products: stretches(k, block + Math.max(block, padded(width)), FLASH_DEPTH),
    weights: k.shared("f32", Math.max(block * pitch, block / LANES * TILE_THREADS)),
  };
}

/** What a block of queries reads and writes. */
export interface FlashBlock {
  readonly width: number;
  readonly scale: number;
  /** Queries, as lines. */
  readonly queries: Side;
  /** Keys from one on, as lines; values from one on, as columns. */
  readonly keys: (first: Index) => Side;
  readonly values: (first: Index) => Side;
  /** The first block of keys and the end of the last. */
  readonly begin: Index;
  readonly end: Index;
  /** Whether a query of the block sees a key. */
  readonly sees: (query: Index, key: Index) => Index;
  /** Whether a query of the block is there. */
  readonly exists: (query: Index) => Index;
  readonly store: (query: Index, column: Index, value: Float) => void;
  readonly storeNorm?: (query: Index, logSumExp: Float) => void;
}

/** Attends with one block of queries. All threads of the group take part. */
export function flash(k: GpuBlock, room: FlashRoom, of: FlashBlock): void {
  const { block, weights, pitch } = room;
  const { width, scale } = of;
  const scores = productSums(k, block, block);
  const out = productSums(k, block, padded(width));
  const each = scores.values.map((_, r) => r);
  const tops = each.map(() => k.variable(f32(HIDDEN)));
  const sums = each.map(() => k.variable(f32(0)));
  const fold = (values: readonly Float[], combine: (a: Float, b: Float) => Float) =>
    foldLanes(k, weights, LANES, values, combine);

  k.for(of.begin, of.end, block, (firstKey) => {
    eachSum(scores, (sum) => k.set(sum, f32(0)));
    addProduct(k, room.products, scores, of.queries, of.keys(firstKey), width);
    const seen = scores.values.map((row, r) =>
      row.map((_, c) => k.let(of.sees(scores.row(r), add(firstKey, scores.column(c)))))
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
    shareTile(k, weights, pitch, scores, (sum, r, c) => {
      const weight = exp2(k.let(sub(sum, tops[r])), k);
      const value = k.let(select(seen[r][c], weight, f32(0)));
      k.set(sums[r], add(sums[r], value));
      return value;
    });
    const mixed = { lines: block, lies: "shared", place: weights, pitch } as const;
    addProduct(k, room.products, out, mixed, of.values(firstKey), block);
  });

  const totals = fold(sums, add);
  out.values.forEach((values, r) => {
    const query = k.let(out.row(r));
    k.if(of.exists(query), () => {
      const factor = k.let(div(f32(1), totals[r]));
      values.forEach((sum, c) => {
        const column = k.let(out.column(c));
        const store = () => of.store(query, column, mul(sum, factor));
        if (width % LANES === 0) store();
        else k.if(lessThan(column, i32(width)), store);
      });
      k.if(equal(out.column(0), i32(0)), () => {
        of.storeNorm?.(query, fma(tops[r], constant("f32", Math.LN2), log(totals[r], k)));
      });
    });
  });
}
