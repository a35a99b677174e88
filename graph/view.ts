/** Strided views: how a tensor's elements lie in the memory of another. */

import { contiguousStrides, type Shape, type Tensor } from "./tensor.ts";

/** Element (i, j, …) of `shape` is at offset + i·strides[0] + j·strides[1] + …. */
export interface View {
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
}

/** The view of a row-major tensor on itself. */
export function wholeView(shape: Shape): View {
  return { shape, strides: contiguousStrides(shape), offset: 0 };
}

/** Whether a view is all of a row-major tensor, in order. */
export function isWhole({ shape, strides, offset }: View): boolean {
  if (offset !== 0) return false;
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== stride) return false;
    stride *= shape[i];
  }
  return true;
}

/**
 * Strides of a view over finer axes: `dims` factors `shape` (their products from the right include
 * every one of the shape's). Undefined where they don't.
 */
export function refine(view: View, dims: readonly number[]): number[] | undefined {
  const strides = new Array<number>(dims.length).fill(0);
  let d = dims.length - 1;
  for (let i = view.shape.length - 1; i >= 0; i--) {
    let rest = view.shape[i];
    let stride = view.strides[i];
    while (rest > 1) {
      if (d < 0 || rest % dims[d] !== 0) return undefined;
      strides[d] = stride;
      stride *= dims[d];
      rest /= dims[d];
      d--;
    }
  }
  return dims.slice(0, d + 1).every((n) => n === 1) ? strides : undefined;
}

/**
 * Axes into which all the shapes, equal in elements, can be split: undefined where their products
 * from the right do not divide one another.
 */
export function commonFactors(shapes: readonly Shape[]): number[] | undefined {
  const products = new Set<number>([1]);
  for (const shape of shapes) {
    let product = 1;
    for (let i = shape.length - 1; i >= 0; i--) products.add(product *= shape[i]);
  }
  const sorted = [...products].sort((a, b) => a - b);
  const dims: number[] = [];
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i] % sorted[i - 1] !== 0) return undefined;
    dims.unshift(sorted[i] / sorted[i - 1]);
  }
  return dims;
}

/** The same elements, in order, as another shape; undefined where strides cannot say it. */
function reshapeView(view: View, shape: Shape): View | undefined {
  if (isWhole({ ...view, offset: 0 })) return { ...wholeView(shape), offset: view.offset };
  const dims = commonFactors([view.shape, shape]);
  const fine = dims && refine(view, dims);
  if (dims === undefined || fine === undefined) return undefined;
  const strides = new Array<number>(shape.length).fill(0);
  let d = dims.length - 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 1) continue;
    const first = d;
    for (let rest = shape[i]; rest > 1; rest /= dims[d--]);
    for (let f = d + 1; f < first; f++) {
      if (fine[f] !== fine[f + 1] * dims[f + 1]) return undefined;
    }
    strides[i] = fine[first];
  }
  return { shape, strides, offset: view.offset };
}

/**
 * Follows reshapes, permutations, expansions and slices down to the tensor that is really stored.
 * A reshape that strides cannot say is itself the base: something must copy it.
 */
export function resolve(t: Tensor): { base: Tensor; view: View } {
  const { op, inputs } = t.node;
  const [a] = inputs;
  switch (op.kind) {
    case "reshape": {
      const { base, view } = resolve(a);
      const next = reshapeView(view, t.shape);
      return next === undefined ? { base: t, view: wholeView(t.shape) } : { base, view: next };
    }
    case "permute": {
      const { base, view } = resolve(a);
      const strides = op.axes.map((axis) => view.strides[axis]);
      return { base, view: { shape: t.shape, strides, offset: view.offset } };
    }
    case "expand": {
      const { base, view } = resolve(a);
      const strides = t.shape.map((n, i) => view.shape[i] === n ? view.strides[i] : 0);
      return { base, view: { shape: t.shape, strides, offset: view.offset } };
    }
    case "slice": {
      const { base, view } = resolve(a);
      const offset = op.begin.reduce((sum, n, i) => sum + n * view.strides[i], view.offset);
      return { base, view: { shape: t.shape, strides: view.strides, offset } };
    }
    default:
      return { base: t, view: wholeView(t.shape) };
  }
}
