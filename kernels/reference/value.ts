/** What the reference operations compute with. */

import { contiguousStrides, type Shape } from "../../graph/tensor.ts";

/** A row-major tensor of f64. */
export interface Value {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** Calls `visit` with every position of a shape, in row-major order, and its running number. */
export function eachPosition(
  shape: Shape,
  visit: (position: readonly number[], flat: number) => void,
): void {
  const total = shape.reduce((product, n) => product * n, 1);
  const position = new Array<number>(shape.length).fill(0);
  for (let flat = 0; flat < total; flat++) {
    visit(position, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++position[axis] < shape[axis]) break;
      position[axis] = 0;
    }
  }
}

/** Where the element at a position lies in a row-major tensor. */
export function flatIndex(shape: Shape): (...position: readonly number[]) => number {
  const strides = contiguousStrides(shape);
  return (...position) => position.reduce((sum, at, axis) => sum + at * strides[axis], 0);
}

/** Scalar product of two rows of a width. */
export function dot(
  a: Float64Array,
  aBegin: number,
  b: Float64Array,
  bBegin: number,
  width: number,
): number {
  let sum = 0;
  for (let n = 0; n < width; n++) sum += a[aBegin + n] * b[bBegin + n];
  return sum;
}

/** to[begin + n] += factor·from[fromBegin + n] for a row of a width. */
export function addScaled(
  to: Float64Array,
  begin: number,
  factor: number,
  from: Float64Array,
  fromBegin: number,
  width: number,
): void {
  for (let n = 0; n < width; n++) to[begin + n] += factor * from[fromBegin + n];
}

/** Throws unless `index` is a whole number in 0 … count−1. */
export function checkIndex(what: string, index: number, count: number): void {
  if (!(Number.isInteger(index) && index >= 0 && index < count)) {
    throw new Error(`reference: ${what}: expected 0 … ${count - 1}, found ${index}`);
  }
}
