/**
 * Products of activations in whole numbers (activations.ts) with a tile of q8_0 weights, where a
 * processor multiplies bytes of 0 … 255 (AVX-512 VNNI): exact sums of 32 products, times both scales.
 */

import { WEIGHT_BLOCK } from "../../graph/tensor.ts";
import { RECORD_SCALES, RECORDS, rowBytes, scalesIn } from "./activations.ts";
import type { Block } from "../language/block.ts";
import { quadsOf } from "../language/lanes.ts";
import {
  add,
  dotBytes,
  fma,
  load,
  loadF16,
  mul,
  splat,
  spread,
  unsignedBytes,
  wholeToF32,
} from "../language/language.ts";
import type { WeightTile } from "./nibble_sums.ts";
import type { Vector } from "../language/syntax.ts";
import {
  at,
  FOUR,
  prefetchRange,
  READ_AHEAD,
  sums,
  sumsOfSome,
  type V,
  zeros,
} from "../language/vectors.ts";
import { SCALE, weightTile } from "../weights/rows.ts";
import { TILE_ROWS } from "../weights/weights.ts";

const RECORD = RECORDS.q8_0;
/** Vectors of a block of four columns, rows of one, and blocks whose scales are a vector. */
const [VECTORS, ROWS, AT_ONCE] = [2, 2, 4];
/** Sums that do not wait for one another, with one row of activations. */
const CHAINS = 2;

/** The products of every row of activations with a tile of so many columns. */
export function wholeByteSums(k: Block, tile: WeightTile, columns: number): V[] {
  const isWhole = columns === TILE_ROWS && k.lanes === 16;
  return isWhole ? wholeTile(k, tile) : partOfTile(k.withLanes(4), tile, columns);
}

/** Four columns: a vector has two rows of weights. */
function wholeTile(k: Block, { shape, matrix, args, column }: WeightTile): V[] {
  const { m, k: length } = shape;
  const bytes = rowBytes(shape);
  const blocks = length / WEIGHT_BLOCK;
  const chains = m === 1 ? CHAINS : 1;
  const totals = Array.from(
    { length: m },
    () => Array.from({ length: chains }, () => zeros(k, VECTORS)),
  );
  const { values, scales } = weightTile(matrix, args.b, column);
  const [weightsAt, scalesAt] = [k.let(values), k.let(scales)];
  const factorsAt = k.let(scalesIn(args.scratch, shape));
  const step = (count: number) => (block: Parameters<typeof at>[1]) => {
    const weights = k.let(at(weightsAt, block, TILE_ROWS * WEIGHT_BLOCK));
    const blockScales = k.let(at(scalesAt, block, TILE_ROWS * SCALE));
    const records = k.let(at(args.scratch, block, RECORD.bytes));
    const factors = k.let(at(factorsAt, block, RECORD_SCALES));
    prefetchRange(k, weights, READ_AHEAD, count * TILE_ROWS * WEIGHT_BLOCK);
    if (count > 1) k.prefetch(blockScales, READ_AHEAD * SCALE / WEIGHT_BLOCK);
    const type: Vector = count === 1 ? "f32x4" : k.vector;
    const weightScales = k.let(loadF16(type, blockScales));
    const products = totals.map((_, row) =>
      k.let(mul(weightScales, load(type, factors, row * bytes.scales)))
    );
    for (let b = 0; b < count; b++) {
      for (let v = 0; v < VECTORS; v++) {
        const place = b * TILE_ROWS * WEIGHT_BLOCK + v * k.vectorBytes;
        const quants = k.let(unsignedBytes(load(k.vector, weights, place)));
        totals.forEach((chain, row) => {
          const total = chain[b % chains][v];
          const record = row * bytes.records + b * RECORD.bytes;
          const dot = dotBytes(
            quants,
            load(k.vector, records, record),
            load(k.vector, records, record + RECORD.corrections),
          );
          const first = b * TILE_ROWS + v * ROWS;
          const scale = spread(products[row], first, k.vector, 8);
          k.set(total, fma(wholeToF32(k.let(dot)), scale, total));
        });
      }
    }
  };
  const whole = blocks - blocks % AT_ONCE;
  k.for(0, whole, AT_ONCE, step(AT_ONCE));
  k.for(whole, blocks, 1, step(1));
  const four = k.withLanes(4);
  return totals.map((chain) => {
    const whole = chain.reduce((x, y) => x.map((vector, v) => k.let(add(vector, y[v]))));
    const quads = whole.flatMap((vector) => quadsOf(k, vector).map((quad) => four.let(quad)));
    const [x, y, z, w] = [0, 2, 4, 6].map((i) => four.let(add(quads[i], quads[i + 1])));
    return sums(four, x, y, z, w);
  });
}

/** Columns by themselves: half a row of weights a vector. */
function partOfTile(
  k: Block,
  { shape, matrix, args, column }: WeightTile,
  columns: number,
): V[] {
  const { m, k: length } = shape;
  const bytes = rowBytes(shape);
  const totals = Array.from({ length: m }, () => zeros(k, columns));
  const { values, scales } = weightTile(matrix, args.b, column);
  const [weightsAt, scalesAt] = [k.let(values), k.let(scales)];
  const factorsAt = k.let(scalesIn(args.scratch, shape));
  k.for(0, length / WEIGHT_BLOCK, 1, (block) => {
    const weights = k.let(at(weightsAt, block, columns * WEIGHT_BLOCK));
    const blockScales = k.let(at(scalesAt, block, columns * SCALE));
    const records = k.let(at(args.scratch, block, RECORD.bytes));
    const factors = k.let(at(factorsAt, block, RECORD_SCALES));
    for (let c = 0; c < columns; c++) {
      const quants = [0, FOUR].map((half) =>
        k.let(unsignedBytes(load(k.vector, weights, c * WEIGHT_BLOCK + half)))
      );
      const weightScale = k.let(loadF16("f32", blockScales, c * SCALE));
      totals.forEach((total, row) => {
        const record = row * bytes.records;
        const [low, high] = quants.map((half, i) => {
          const corrections = load(k.vector, records, record + RECORD.corrections + i * FOUR);
          return k.let(dotBytes(half, load(k.vector, records, record + i * FOUR), corrections));
        }).map((dot) => k.let(wholeToF32(dot)));
        const scale = k.let(mul(weightScale, load("f32", factors, row * bytes.scales)));
        k.set(total[c], fma(k.let(add(low, high)), splat(scale) as V, total[c]));
      });
    }
  });
  return totals.map((total) => sumsOfSome(k, total));
}
