/** Random graphs of pointwise operations, reductions, moves and products, for rewriting and fusion. */

import * as g from "../../graph/build.ts";
import { type Shape, size, type Tensor } from "../../graph/tensor.ts";
import { type OpCase, opCase, real } from "./op_case.ts";
import { type Random, random } from "./random.ts";

const MAX_ELEMENTS = 600;
const MAX_RANK = 4;

/** Makes a tensor out of those that there are. */
type Step = (source: Random, pool: readonly Tensor[]) => Tensor;

/** Factors and terms whose products and quotients are exact, some of which fold away. */
const NUMBERS = [0, 1, -1, 2, 0.5];

function broadcastable(a: Shape, b: Shape): boolean {
  const [x, y] = [[...a].reverse(), [...b].reverse()];
  return x.every((n, i) => n === 1 || (y[i] ?? 1) === 1 || n === y[i]);
}

/** One of those that fit, or what is to be used otherwise. */
function pickWhere(
  source: Random,
  pool: readonly Tensor[],
  fits: (t: Tensor) => boolean,
  otherwise: Tensor,
): Tensor {
  const fitting = pool.filter(fits);
  return fitting.length > 0 ? source.pick(fitting) : otherwise;
}

function shuffled(source: Random, count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = source.below(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Axis, begin and end of a part of a tensor. */
function part(source: Random, { shape }: Tensor): [number, number, number] {
  const axis = source.below(shape.length);
  const begin = source.below(shape[axis]);
  return [axis, begin, begin + 1 + source.below(shape[axis] - begin)];
}

const withSize = (shape: Shape, axis: number, n: number): number[] =>
  shape.map((old, i) => i === axis ? n : old);

const unaryStep = (fns: readonly ((x: Tensor) => Tensor)[]): Step => (source, pool) =>
  source.pick(fns)(source.pick(pool));

const binaryStep = (fns: readonly ((a: Tensor, b: Tensor) => Tensor)[]): Step => (source, pool) => {
  const a = source.pick(pool);
  const b = pickWhere(source, pool, (t) => broadcastable(a.shape, t.shape), a);
  return source.pick(fns)(a, b);
};

const numberStep: Step = (source, pool) => {
  const a = source.pick(pool);
  const n = source.pick(NUMBERS);
  const forms = [g.add(a, n), g.sub(a, n), g.sub(n, a), g.mul(a, n), g.mul(n, a)];
  return source.pick(n === 0 ? forms : [...forms, g.div(a, n)]);
};

const sumStep: Step = (source, pool) => {
  const a = source.pick(pool);
  return g.sum(a, shuffled(source, a.shape.length).slice(source.below(a.shape.length)));
};

const largestStep: Step = (source, pool) => {
  const a = source.pick(pool);
  return g.largest(a, [source.below(a.shape.length)]);
};

const moveStep: Step = (source, pool) => {
  const a = source.pick(pool);
  const [axis, begin, end] = part(source, a);
  switch (source.below(6)) {
    case 0:
      return g.permute(a, shuffled(source, a.shape.length));
    case 4:
      return g.permute(a, a.shape.map((_, i) => a.shape.length - 1 - i));
    case 1:
      return g.reshape(a, source.pick([[...a.shape].reverse(), [size(a.shape)], [1, ...a.shape]]));
    case 2:
      return g.slice(a, axis, begin, end);
    case 3: {
      const total = a.shape[axis] + 1 + source.below(3);
      const before = a.shape.map((_, i) => i === axis ? source.below(total - a.shape[axis]) : 0);
      return g.pad(a, before, withSize(a.shape, axis, total));
    }
    default:
      return g.expand(a, [2, ...a.shape.map((n) => n === 1 ? 1 + source.below(3) : n)]);
  }
};

const concatStep: Step = (source, pool) => {
  const a = source.pick(pool);
  const axis = source.below(a.shape.length);
  const agrees = ({ shape }: Tensor) =>
    shape.length === a.shape.length && shape.every((n, i) => i === axis || n === a.shape[i]);
  return g.concat([a, pickWhere(source, pool, agrees, a)], axis);
};

/** Parts that are put back where they were, as the gradients of slices are. */
const partsStep: Step = (source, pool) => {
  const a = source.pick(pool);
  const [axis, , middle] = part(source, a);
  const ranges = [[0, middle], [middle, a.shape[axis]]].filter(([begin, end]) => begin < end);
  const parts = ranges.map(([begin, end]) =>
    g.pad(g.slice(a, axis, begin, end), withSize(a.shape.map(() => 0), axis, begin), a.shape)
  );
  return parts.reduce((x, y) => g.add(x, y));
};

const matmulStep: Step = (source, pool) => {
  const a = pickWhere(source, pool, (t) => t.shape.length === 2, g.constant(1, [2, 3]));
  const [transposeA, transposeB] = [source.below(2) === 1, source.below(2) === 1];
  const inner = a.shape[transposeA ? 0 : 1];
  const fits = ({ shape }: Tensor) => shape.length === 2 && shape[transposeB ? 1 : 0] === inner;
  const b = pickWhere(source, pool, fits, g.constant(2, transposeB ? [3, inner] : [inner, 3]));
  return g.tanh(g.matmul(a, b, { transposeA, transposeB }));
};

/** Chooses by leaves only: these are the same to the last bit on every device. */
const selectStep = (leaves: readonly Tensor[]): Step => (source, pool) => {
  const [x, y] = [source.pick(leaves), source.pick(NUMBERS)];
  const fits = ({ shape }: Tensor) =>
    shape.length <= x.shape.length && broadcastable(shape, x.shape);
  const covers = (t: Tensor) =>
    fits(t) &&
    t.shape.every((n, i) => n === 1 || n === x.shape[x.shape.length - t.shape.length + i]);
  return g.select(g.less(x, y), pickWhere(source, pool, covers, x), source.pick(NUMBERS));
};

/** Settings of a random graph. */
export interface RandomGraphOptions {
  /** Steps it has. */
  readonly steps?: number;
  /** Without operations whose derivative jumps. */
  readonly smooth?: boolean;
}

/** A random graph of a few results; the same seed gives the same graph. */
export function randomGraph(
  seed: number,
  { steps = 30, smooth = false }: RandomGraphOptions = {},
): OpCase {
  const inputs = {
    a: real([3, 4]),
    b: real([3, 1]),
    c: real([4]),
    d: real([2, 3, 4]),
    e: real([1]),
    f: real([5, 4]),
  };
  return opCase(`random graph ${seed}${smooth ? ", smooth" : ""}`, inputs, (tensors) => {
    const source = random(seed);
    const leaves = Object.values(tensors);
    const kinked = smooth ? [] : [largestStep];
    const kinds: readonly Step[] = [
      unaryStep([g.neg, g.tanh, g.sigmoid, g.copy, ...(smooth ? [] : [g.abs])]),
      binaryStep([g.add, g.sub, g.mul, ...(smooth ? [] : [g.minimum, g.maximum])]),
      binaryStep([g.add, g.mul]),
      numberStep,
      sumStep,
      moveStep,
      moveStep,
      concatStep,
      partsStep,
      matmulStep,
      selectStep(leaves),
      ...kinked,
    ];
    const pool: Tensor[] = [...leaves, g.constant(0, [3, 4]), g.constant(1, [4])];
    while (pool.length < leaves.length + 2 + steps) {
      const made = source.pick(kinds)(source, pool);
      if (made.shape.length > MAX_RANK || size(made.shape) > MAX_ELEMENTS) continue;
      // Sums of products grow without a bound.
      pool.push(source.below(3) === 0 ? g.tanh(made) : made);
    }
    return pool.slice(-4);
  });
}
