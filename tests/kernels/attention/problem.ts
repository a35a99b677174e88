/** What tests of attention compute: shapes and values of every layout. */

import type { AttentionShape } from "../../../kernels/attention/attention.ts";
import type { Kernel, OperandLayout } from "../../../kernels/kernel.ts";
import type { Value } from "../../../kernels/reference/value.ts";
import { gather, headLayouts, reach } from "../../support/layouts.ts";
import { random } from "../../support/random.ts";

/** Rounding of an f32 in sums of up to 200 products and weights. */
export const TOLERANCE = 4e-6;

/** batch, time, heads, key/value heads, width. */
export type Size = readonly [number, number, number, number, number];

/** What shapes and operations say of a window. */
const limit = (window?: number) => window === undefined ? {} : { window };

/** Attention of some operands. */
export interface Problem {
  readonly shape: AttentionShape;
  /** In memory, as the layouts say. */
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** A problem with random values: its operands in one of the layouts, up to a spread. */
export function problem(
  [batch, time, heads, kvHeads, width]: Size,
  layout = 0,
  spread = 1,
  window?: number,
): Problem {
  const source = random(batch + 7 * time + 91 * heads + 1013 * width + layout);
  const q = headLayouts([batch, time, heads, width])[layout];
  const kv = headLayouts([batch, time, kvHeads, width])[layout];
  const fill = (of: OperandLayout) =>
    new Float32Array(reach(of)).map(() => source.uniform(-spread, spread));
  const scale = 1 / Math.sqrt(width);
  return {
    shape: { batch, time, heads, kvHeads, width, scale, ...limit(window), q, k: kv, v: kv },
    ...{ q: fill(q), k: fill(kv), v: fill(kv) },
  };
}

/** q, k and v as the reference takes them. */
export function values({ shape, q, k, v }: Problem): [Value, Value, Value] {
  const { batch, time, heads, kvHeads, width } = shape;
  const kv = [batch, time, kvHeads, width];
  return [
    { shape: [batch, time, heads, width], data: gather(q, shape.q) },
    { shape: kv, data: gather(k, shape.k) },
    { shape: kv, data: gather(v, shape.v) },
  ];
}

/** Runs all items of a kernel, so many at once. */
export function runAll(
  kernel: Kernel,
  size: number,
  run: (begin: number, end: number) => void,
): void {
  for (let begin = 0; begin < kernel.items; begin += size) {
    run(begin, Math.min(begin + size, kernel.items));
  }
}
