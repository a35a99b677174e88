/**
 * Products of activations in whole numbers (activations.ts) with a tile of q4_0 weights: exact sums
 * of 32 products, times both scales.
 */

import { WEIGHT_BLOCK } from "../../graph/tensor.ts";
import { RECORD_SCALES, RECORDS, rowBytes, scalesIn } from "./activations.ts";
import type { MatmulShape } from "../kernel.ts";
import type { Block } from "../language/block.ts";
import { quadsOf } from "../language/lanes.ts";
import {
  add,
  dotBytes,
  fma,
  highNibbles,
  load,
  loadF16,
  loadQuad,
  lowNibbles,
  mul,
  splat,
  spread,
  wholeToF32,
} from "../language/language.ts";
import type { Vector } from "../language/syntax.ts";
import {
  at,
  FOUR,
  type Index,
  type Pointer,
  prefetchRange,
  READ_AHEAD,
  sums,
  sumsOfSome,
  type V,
  zeros,
} from "../language/vectors.ts";
import { SCALE, type WeightMatrix, weightTile } from "../weights/rows.ts";
import { TILE_ROWS } from "../weights/weights.ts";

const RECORD = RECORDS.q4_0;

/** Bytes of a row's block without its scale. */
const BLOCK_BYTES = WEIGHT_BLOCK / 2;

/** A tile of a product: up to four columns from one on, which are rows of the weights. */
export interface WeightTile {
  readonly shape: MatmulShape;
  readonly matrix: WeightMatrix;
  readonly args: Readonly<Record<string, Pointer>>;
  readonly column: Index;
}

/** The products of every row of activations with a tile of so many columns. */
export function nibbleSums(k: Block, tile: WeightTile, columns: number): V[] {
  return columns === TILE_ROWS ? wholeTile(k, tile) : partOfTile(k.withLanes(4), tile, columns);
}

/** Where the parts of a block are. */
function blockPlaces(
  k: Block,
  { shape, matrix, args, column }: WeightTile,
  columns: number,
): (block: Index) => { weights: Pointer; scales: Pointer; records: Pointer; factors: Pointer } {
  const { values, scales } = weightTile(matrix, args.b, column);
  const [weightsAt, scalesAt] = [k.let(values), k.let(scales)];
  const factorsAt = k.let(scalesIn(args.scratch, shape));
  return (block) => ({
    weights: k.let(at(weightsAt, block, columns * BLOCK_BYTES)),
    scales: k.let(at(scalesAt, block, columns * SCALE)),
    records: k.let(at(args.scratch, block, RECORD.bytes)),
    factors: k.let(at(factorsAt, block, RECORD_SCALES)),
  });
}

/** 32 products of a record with each of a vector's rows of four bits. */
function blockSum(k: Block, [low, high]: readonly V[], record: Pointer, place: number): V {
  const quad = (bytes: number) => loadQuad(k.vector, record, place + bytes);
  const first = k.let(dotBytes(low, quad(0), quad(RECORD.corrections)));
  return wholeToF32(k.let(dotBytes(high, quad(FOUR), first)));
}

const nibblesOf = (k: Block, packed: V): V[] => [
  k.let(lowNibbles(packed)),
  k.let(highNibbles(packed)),
];

/** Four columns: a block of all is 64 bytes, of which a vector has one row or more, in fours. */
function wholeTile(k: Block, tile: WeightTile): V[] {
  const { m, k: length } = tile.shape;
  const bytes = rowBytes(tile.shape);
  const blocks = length / WEIGHT_BLOCK;
  const vectors = TILE_ROWS * BLOCK_BYTES / k.vectorBytes;
  const rowsOfVector = TILE_ROWS / vectors;
  /** Blocks whose scales are a vector. */
  const atOnce = k.lanes / TILE_ROWS;
  // A sum waits for the one before: with one row alone there are two in turn.
  const chains = m === 1 ? Math.min(2, atOnce) : 1;
  const totals = Array.from(
    { length: m },
    () => Array.from({ length: chains }, () => zeros(k, vectors)),
  );
  const placesOf = blockPlaces(k, tile, TILE_ROWS);
  const step = (count: number) => (block: Index) => {
    const { weights, scales, records, factors } = placesOf(block);
    prefetchRange(k, weights, READ_AHEAD, count * TILE_ROWS * BLOCK_BYTES);
    if (count > 1) k.prefetch(scales, READ_AHEAD * SCALE / BLOCK_BYTES);
    const type: Vector = count === 1 ? "f32x4" : k.vector;
    const weightScales = k.let(loadF16(type, scales));
    const products = totals.map((_, row) =>
      k.let(mul(weightScales, load(type, factors, row * bytes.scales)))
    );
    for (let b = 0; b < count; b++) {
      for (let v = 0; v < vectors; v++) {
        const place = b * TILE_ROWS * BLOCK_BYTES + v * k.vectorBytes;
        const nibbles = nibblesOf(k, k.let(load(k.vector, weights, place)));
        totals.forEach((chain, row) => {
          const total = chain[b % chains][v];
          const sum = blockSum(k, nibbles, records, row * bytes.records + b * RECORD.bytes);
          const scale = spread(products[row], b * TILE_ROWS + v * rowsOfVector, k.vector);
          k.set(total, fma(sum, scale, total));
        });
      }
    }
  };
  const whole = blocks - blocks % atOnce;
  k.for(0, whole, atOnce, step(atOnce));
  k.for(whole, blocks, 1, step(1));
  return totals.map((chain) => {
    const whole = chain.reduce((x, y) => x.map((vector, v) => k.let(add(vector, y[v]))));
    const [x, y, z, w] = whole.flatMap((vector) => quadsOf(k, vector));
    return sums(k.withLanes(4), x, y, z, w);
  });
}

/** Less than four columns, which are the last ones: a row of weights a vector. */
function partOfTile(k: Block, tile: WeightTile, columns: number): V[] {
  const { m, k: length } = tile.shape;
  const bytes = rowBytes(tile.shape);
  const totals = Array.from({ length: m }, () => zeros(k, columns));
  const placesOf = blockPlaces(k, tile, columns);
  k.for(0, length / WEIGHT_BLOCK, 1, (block) => {
    const { weights, scales, records, factors } = placesOf(block);
    for (let c = 0; c < columns; c++) {
      const nibbles = nibblesOf(k, k.let(load(k.vector, weights, c * BLOCK_BYTES)));
      const weightScale = k.let(loadF16("f32", scales, c * SCALE));
      totals.forEach((total, row) => {
        const sum = blockSum(k, nibbles, records, row * bytes.records);
        const scale = k.let(mul(weightScale, load("f32", factors, row * bytes.scales)));
        k.set(total[c], fma(sum, splat(scale) as V, total[c]));
      });
    }
  });
  return totals.map((total) => sumsOfSome(k, total));
}
