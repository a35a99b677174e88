/**
 * Products of blocks of queries and keys, by each thread's own multiplications or on tensor cores. Both
 * give a thread a part of a tile's sums; on tensor cores weights never leave the registers in which
 * the scores were.
 */

import { i32, rem } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { padded } from "../heads.ts";
import type { Float, Index, Place } from "../language.ts";
import {
  addProduct,
  LANES,
  productSums,
  shareTile,
  type Side,
  stretches,
  type Sums,
  TILE_THREADS,
} from "../matmul/products.ts";
import { APART, asSums, TENSOR_DEPTH, WARP } from "../matmul/tensor_fragments.ts";
import {
  addOwnProduct,
  addTensorProduct,
  type TensorSums,
  tensorSums,
} from "../matmul/tensor_products.ts";
import type { ProductNumbers } from "../matmul/tiling.ts";

/** Rows of a warp. */
const WARP_ROWS = 16;

/** Queries and keys of a block. */
const blockOf = (time: number): number => time <= 16 ? 16 : time <= 32 ? 32 : 64;

/** The blocks of so many tokens. */
export function attentionBlock(
  time: number,
  numbers: ProductNumbers = "f32",
): AttentionBlock {
  const rows = blockOf(time);
  const threads = numbers === "tf32" ? rows / WARP_ROWS * WARP : TILE_THREADS;
  return { rows, columns: rows, threads, numbers };
}

/** A block of rows, which are a group's, and of the columns that it walks at a time. */
export interface AttentionBlock {
  readonly rows: number;
  readonly columns: number;
  /** Threads of a group. */
  readonly threads: number;
  readonly numbers: ProductNumbers;
}

/** Products of a group. */
export interface AttentionProducts<S extends Sums = Sums> {
  /** Threads side by side that have the same rows of every tile. */
  readonly lanes: number;
  /** A thread's number among them. */
  readonly lane: Index;
  /** Shared memory for a number of each of a thread's rows. */
  readonly scratch: Place<"f32">;
  /** Sums of rows and columns, whose steps lie side by side; zeros at first. */
  scores(): S;
  /** Sums of rows and of the columns of a head, whose lines lie side by side; zeros at first. */
  mixed(): S;
  /** Adds left·right along a width to scores. All threads take part, here and below. */
  addScores(sums: S, left: Side, right: Side, width: number): void;
  /** Adds to `mixed` sums: a value for each of the thread's scores, times the columns' heads. */
  addMixed(
    sums: S,
    scores: S,
    value: (score: Float, r: number, c: number) => Float,
    right: Side,
  ): void;
}

/** Runs with the products of a block of heads of a width. */
export function withProducts(
  k: GpuBlock,
  block: AttentionBlock,
  width: number,
  run: <S extends Sums>(products: AttentionProducts<S>) => void,
): void {
  if (block.numbers === "tf32") run(tensorProducts(k, block, width));
  else run(vectorProducts(k, block, width));
}

/** Steps of a stretch: all shared memory stays within 32 KiB up to a width of 128. */
const DEPTH = 8;

/** Products of threads, of blocks of as many rows as columns. */
export function vectorProducts(
  k: GpuBlock,
  { rows, columns }: AttentionBlock,
  width: number,
): AttentionProducts {
  const pitch = rows + 4;
  const room = stretches(k, rows + Math.max(columns, padded(width)), DEPTH);
  // Weights [columns][rows], which pass from the threads that have them to all.
  const scratch = k.shared("f32", Math.max(columns * pitch, rows / LANES * TILE_THREADS));
  return {
    ...{ lanes: LANES, scratch },
    lane: k.let(rem(k.thread, i32(LANES))),
    scores: () => productSums(k, rows, columns),
    mixed: () => productSums(k, rows, padded(width)),
    addScores: (sums, left, right, length) => addProduct(k, room, sums, left, right, length),
    addMixed: (sums, scores, value, right) => {
      shareTile(k, scratch, pitch, scores, value);
      const left = { lines: rows, lies: "shared", place: scratch, pitch } as const;
      addProduct(k, room, sums, left, right, columns);
    },
  };
}

/** Threads of a warp that share rows. */
const ROW_LANES = 4;

/** Products on tensor cores, of which each warp has 16 whole rows. */
function tensorProducts(
  k: GpuBlock,
  { rows, columns, threads }: AttentionBlock,
  width: number,
): AttentionProducts<TensorSums> {
  const along = (lines: number) => ({ lines, lies: "along" }) as const;
  const heads = { lines: padded(width), lies: "across" } as const;
  const room = stretches(k, Math.max(rows + columns, heads.lines + APART), TENSOR_DEPTH);
  const warps = { down: rows / WARP_ROWS, across: 1 };
  return {
    lanes: ROW_LANES,
    lane: k.let(rem(k.thread, i32(ROW_LANES))),
    scratch: k.shared("f32", threads * 2),
    scores: () => tensorSums(k, room, along(rows), along(columns), warps),
    mixed: () => tensorSums(k, room, along(rows), heads, warps, asSums),
    addScores: (sums, left, right, length) => addTensorProduct(k, room, sums, left, right, length),
    addMixed: (sums, scores, value, right) =>
      addOwnProduct(
        k,
        room,
        sums,
        scores.values.map((row, r) => row.map((score, c) => k.let(value(score, r, c)))),
        right,
      ),
  };
}
