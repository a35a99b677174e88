/**
 * Activations as whole numbers: for every 32 values x of a row a scale d = max |x| / 127 and signed
 * bytes q, so that x ≈ d·q, as llama.cpp has them beside weights in blocks (its Q8_0, with a scale in
 * f32). With weights of four bits a block's products then add up exactly, in any order.
 *
 * In scratch memory a block is a record: its bytes, and whole numbers that add up to −8·Σq (−128·Σq),
 * what weights of 0 … 15 (0 … 255) have too much in place of −8 … 7 (−128 … 127). Behind all records
 * come the scales, four times each.
 */

import { WEIGHT_BLOCK } from "../../graph/tensor.ts";
import type { MatmulShape } from "../kernel.ts";
import type { Block } from "../language/block.ts";
import { acrossLanes } from "../language/lanes.ts";
import {
  abs,
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
} from "../language/language.ts";
import { at, F32, FOUR, type Pointer, type V } from "../language/vectors.ts";

/**
 * Bytes of a record, and where in it the numbers are, of which there are four or one for every four
 * bytes; beside q8_0 both twice, for vectors of two rows of weights.
 */
export const RECORDS = {
  q4_0: { bytes: 48, corrections: 32 },
  q8_0: { bytes: 128, corrections: 64 },
} as const;
/** Bytes of a block's scales. */
export const RECORD_SCALES = FOUR;

/** The largest whole number. */
const LARGEST = 127;
/** Blocks of smaller values are 0: what divides by their largest stays finite. */
const SMALLEST = 1e-30;
/** f32 whose bytes are all what weights have too much. */
const EXCESS = {
  q4_0: new Float32Array(Uint32Array.of(0x08080808).buffer)[0],
  q8_0: new Float32Array(Uint32Array.of(0x80808080).buffer)[0],
} as const;

const blocksOf = ({ k }: MatmulShape) => k / WEIGHT_BLOCK;
const formatOf = ({ weight }: MatmulShape) => weight === "q8_0" ? weight : "q4_0";

/** Bytes of a row's records, and of a row's scales. */
export const rowBytes = (shape: MatmulShape) => ({
  records: blocksOf(shape) * RECORDS[formatOf(shape)].bytes,
  scales: blocksOf(shape) * RECORD_SCALES,
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
  const format = formatOf(shape);
  const record = RECORDS[format];
  const larger = largerOf(k);
  for (let row = 0; row < shape.m; row++) {
    const from = k.let(offset(a, row * shape.a.mStride * F32));
    const records = k.let(offset(scratch, row * bytes.records));
    const scales = k.let(offset(scalesIn(scratch, shape), row * bytes.scales));
    k.for(0, blocksOf(shape), 1, (block) => {
      const source = k.let(at(from, block, WEIGHT_BLOCK * F32));
      const to = k.let(at(records, block, record.bytes));
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
      const store = (of: (value: V) => V, first = 0) =>
        whole.forEach((value, i) => k.storeBytes(of(value), to, first + i * k.lanes));
      store((value) => neg(value));
      const excess = k.let(constant("f32x4", EXCESS[format]));
      const half = (which: number, sum: V) =>
        k.let(dotBytes(excess, load("f32x4", to, which * FOUR) as V, sum));
      const none = constant("f32x4", 0);
      if (format === "q4_0") k.store(half(1, half(0, none)), to, record.corrections);
      else {
        const halves = [half(0, none), half(1, none)];
        for (let i = 0; i < 4; i++) k.store(halves[i % 2], to, record.corrections + i * FOUR);
        store((value) => value, WEIGHT_BLOCK);
      }
      store((value) => value);
      const scale = splat(lane(div(largest, constant(k.vector, LARGEST)), 0));
      k.store(scale, at(scales, block, RECORD_SCALES));
    });
  }
}
