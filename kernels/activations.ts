/**
 * Activations as whole numbers: for every 32 values x of a row a scale d = max |x| / 127 and signed
 * bytes q, so that x ≈ d·q, as llama.cpp has them beside weights in blocks (its Q8_0, with a scale in
 * f32). With weights of four bits a block's products then add up exactly, in any order.
 *
 * In scratch memory a block is a record: its bytes, and four whole numbers that add up to −8·Σq, what
 * weights of 0 … 15 have too much in place of −8 … 7. Behind all records come the scales, four times
 * each.
 */

import { WEIGHT_BLOCK } from "../graph/tensor.ts";
import type { MatmulShape } from "./kernel.ts";
import type { Block } from "./block.ts";
import {
  abs,
  acrossLanes,
  constant,
  div,
  dotBytes,
  fma,
  lane,
  lessThan,
  load,
  max,
  mul,
  nearest,
  neg,
  offset,
  select,
  splat,
} from "./language.ts";
import { at, F32, FOUR, type Pointer, type V } from "./vectors.ts";

/** Bytes of a record, where in it the four numbers are, and bytes of a block's scales. */
export const RECORD = { bytes: 48, corrections: 32, scales: FOUR } as const;

/** The largest whole number. */
const LARGEST = 127;
/** Blocks of smaller values are 0: what divides by their largest stays finite. */
const SMALLEST = 1e-30;
/** An f32 whose bytes are all 8. */
const EIGHTS = new Float32Array(Uint32Array.of(0x08080808).buffer)[0];

const blocksOf = ({ k }: MatmulShape) => k / WEIGHT_BLOCK;

/** Bytes of a row's records, and of a row's scales. */
export const rowBytes = (shape: MatmulShape) => ({
  records: blocksOf(shape) * RECORD.bytes,
  scales: blocksOf(shape) * RECORD.scales,
});

/** Bytes of scratch memory that a product's activations take. */
export function activationBytes(shape: MatmulShape): number {
  const { records, scales } = rowBytes(shape);
  return shape.m * (records + scales);
}

/** Where the scales of all rows begin. */
export const scalesIn = (scratch: Pointer, shape: MatmulShape): Pointer =>
  offset(scratch, shape.m * rowBytes(shape).records);

/** The larger of two, or a NaN where either is one, or infinite. */
const largerOf = (k: Block) => (a: V, b: V): V => fma(b, constant(k.vector, 0), max(a, b));

/** Writes the rows of the left factor to scratch memory. */
export function storeActivations(
  k: Block,
  shape: MatmulShape,
  { a, scratch }: Readonly<Record<string, Pointer>>,
): void {
  const bytes = rowBytes(shape);
  const larger = largerOf(k);
  for (let row = 0; row < shape.m; row++) {
    const from = k.let(offset(a, row * shape.a.mStride * F32));
    const records = k.let(offset(scratch, row * bytes.records));
    const scales = k.let(offset(scalesIn(scratch, shape), row * bytes.scales));
    k.for(0, blocksOf(shape), 1, (block) => {
      const source = k.let(at(from, block, WEIGHT_BLOCK * F32));
      const record = k.let(at(records, block, RECORD.bytes));
      const values = Array.from(
        { length: WEIGHT_BLOCK / k.lanes },
        (_, i) => k.let(load(k.vector, source, i * k.vectorBytes)),
      );
      const sizes = values.map((value) => abs(value));
      const each = sizes.reduce((x, y) => k.let(larger(k.let(x), k.let(y))));
      const largest = k.let(acrossLanes(each, k, (x, y) => larger(k.let(x), k.let(y))));
      const inverse = k.let(select(
        lessThan(constant(k.vector, SMALLEST), largest),
        div(constant(k.vector, LARGEST), largest),
        constant(k.vector, 0),
      ));
      const whole = values.map((value) => k.let(nearest(mul(value, inverse))));
      const store = (of: (value: V) => V) =>
        whole.forEach((value, i) => k.storeBytes(of(value), record, i * k.lanes));
      store((value) => neg(value));
      const eights = k.let(constant("f32x4", EIGHTS));
      const half = (which: number, sum: V) =>
        k.let(dotBytes(eights, load("f32x4", record, which * FOUR) as V, sum));
      k.store(half(1, half(0, constant("f32x4", 0))), record, RECORD.corrections);
      store((value) => value);
      const scale = splat(lane(div(largest, constant(k.vector, LARGEST)), 0));
      k.store(scale, at(scales, block, RECORD.scales));
    });
  }
}
