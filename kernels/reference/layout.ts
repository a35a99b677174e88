/** Operations that move elements and compute nothing. */

import { type Shape, size } from "../../graph/tensor.ts";
import { eachPosition, flatIndex, type Value } from "./value.ts";

/** Output axis i is input axis axes[i]. */
export function permute(x: Value, axes: readonly number[]): Float64Array {
  const out = new Float64Array(x.data.length);
  const at = flatIndex(axes.map((axis) => x.shape[axis]));
  eachPosition(x.shape, (position, flat) => {
    out[at(...axes.map((axis) => position[axis]))] = x.data[flat];
  });
  return out;
}

/** Axes of size 1 repeated. */
export function expand(x: Value, shape: Shape): Float64Array {
  const out = new Float64Array(size(shape));
  const at = flatIndex(x.shape);
  eachPosition(shape, (position, flat) => {
    out[flat] = x.data[at(...position.map((i, axis) => x.shape[axis] === 1 ? 0 : i))];
  });
  return out;
}

/** A box of the given shape. */
export function slice(x: Value, begin: readonly number[], shape: Shape): Float64Array {
  const out = new Float64Array(size(shape));
  const at = flatIndex(x.shape);
  eachPosition(shape, (position, flat) => {
    out[flat] = x.data[at(...position.map((i, axis) => begin[axis] + i))];
  });
  return out;
}

/** Zeros around a tensor, up to a shape. */
export function pad(x: Value, before: readonly number[], shape: Shape): Float64Array {
  const out = new Float64Array(size(shape));
  const at = flatIndex(shape);
  eachPosition(x.shape, (position, flat) => {
    out[at(...position.map((i, axis) => before[axis] + i))] = x.data[flat];
  });
  return out;
}

/** Tensors one after another along an axis. */
export function concat(parts: readonly Value[], axis: number, shape: Shape): Float64Array {
  const out = new Float64Array(size(shape));
  const at = flatIndex(shape);
  let begin = 0;
  for (const part of parts) {
    eachPosition(part.shape, (position, flat) => {
      out[at(...position.map((i, a) => a === axis ? begin + i : i))] = part.data[flat];
    });
    begin += part.shape[axis];
  }
  return out;
}
