import * as g from "../../../graph/build.ts";
import type { Shape, Tensor } from "../../../graph/tensor.ts";
import { ids, type OpCase, opCase, real, reals, whole } from "../op_case.ts";

const shapes: readonly Shape[] = [[1], [7], [3, 5], [1, 129], [2, 3, 4, 5], [37, 64], [129, 66]];

/** Functions of one tensor with the range they are tested on. */
const unary: readonly (readonly [string, (x: Tensor) => Tensor, number, number])[] = [
  ["copy", g.copy, -2, 2],
  ["neg", g.neg, -2, 2],
  ["abs", g.abs, -2, 2],
  ["exp", g.exp, -4, 4],
  ["log", g.log, 0.01, 20],
  ["sqrt", g.sqrt, 0.01, 20],
  ["reciprocal", g.reciprocal, 0.2, 5],
  ["tanh", g.tanh, -3, 3],
  ["sigmoid", g.sigmoid, -6, 6],
  ["silu", g.silu, -6, 6],
];

const binary: readonly (readonly [string, (a: Tensor, b: Tensor) => Tensor])[] = [
  ["add", g.add],
  ["sub", g.sub],
  ["mul", g.mul],
  ["div", g.div],
  ["min", g.minimum],
  ["max", g.maximum],
];

/** Two shapes that broadcast, in all the ways there are. */
const broadcasts: readonly (readonly [Shape, Shape])[] = [
  [[1], [1]],
  [[3, 5], [3, 5]],
  [[3, 5], [5]],
  [[5], [3, 5]],
  [[3, 5], [3, 1]],
  [[3, 1], [1, 5]],
  [[3, 5], [1]],
  [[1, 1], [3, 5]],
  [[2, 3, 5], [3, 1]],
  [[2, 1, 5], [3, 5]],
  [[2, 1, 5, 1], [1, 3, 1, 4]],
  [[33, 66], [33, 1]],
  [[33, 66], [66]],
];

const text = (shape: Shape): string => `[${shape.join(", ")}]`;

/** Values where f32 has few digits or none. */
const extremes: readonly OpCase[] = [
  opCase(
    "exp of extremes",
    { x: reals([-200, -104, -88, -87, -1e-8, 0, 1e-8, 80, 88]) },
    ({ x }) => g.exp(x),
    [],
  ),
  opCase("sigmoid of extremes", { x: reals([-100, -89, -30, -1e-8, 0, 1e-8, 30, 89, 100]) }, (
    { x },
  ) => g.sigmoid(x), []),
  opCase("tanh of extremes", { x: reals([-100, -9, -1e-4, -1e-8, 0, 1e-8, 1e-4, 9, 100]) }, (
    { x },
  ) => g.tanh(x), []),
  opCase(
    "log of extremes",
    { x: reals([1e-30, 1e-8, 0.999, 1, 1.001, 2, 1e8, 1e30]) },
    ({ x }) => g.log(x),
    [],
  ),
];

/** Operations on single elements. */
export const pointwiseCases: readonly OpCase[] = [
  ...unary.flatMap(([name, fn, low, high]) =>
    shapes.map((shape) =>
      opCase(`${name} ${text(shape)}`, { x: real(shape, low, high) }, ({ x }) => fn(x))
    )
  ),
  ...extremes,
  ...binary.flatMap(([name, fn]) =>
    broadcasts.map(([a, b]) =>
      opCase(
        `${name} ${text(a)} ${text(b)}`,
        { a: real(a, -2, 2), b: real(b, 0.5, 2) },
        ({ a, b }) => fn(a, b),
      )
    )
  ),
  ...broadcasts.flatMap(([a, b]) => [
    opCase(
      `less ${text(a)} ${text(b)}`,
      { a: whole(a, 4), b: whole(b, 4) },
      ({ a, b }) => g.less(a, b),
      [],
    ),
    opCase(
      `equal ${text(a)} ${text(b)}`,
      { a: whole(a, 4), b: whole(b, 4) },
      ({ a, b }) => g.equal(a, b),
      [],
    ),
  ]),
  opCase("equal of ids", { a: ids([3, 5], 4), b: ids([5], 4) }, ({ a, b }) => g.equal(a, b), []),
  opCase("one-hot of ids", { at: ids([9, 1], 13) }, ({ at }) => g.equal(g.iota([9, 13]), at), []),
  opCase("iota", { x: real([3, 7]) }, ({ x }) => g.add(x, g.iota([3, 7]))),
  opCase("constants", { x: real([3, 7]) }, ({ x }) => [
    g.add(g.mul(x, 3), -0.25),
    g.constant(2.5, [2, 3]),
    g.sub(1, x),
  ]),
  opCase(
    "select [3, 5]",
    { c: whole([3, 5], 2), a: real([3, 5]), b: real([5]) },
    ({ c, a, b }) => g.select(c, a, b),
    ["a", "b"],
  ),
  opCase(
    "select by comparison [5, 33]",
    { a: real([5, 33]), b: real([5, 33]) },
    ({ a, b }) => g.select(g.less(a, b), g.exp(a), 2),
  ),
  opCase(
    "two results that share a part",
    { a: real([6, 10]), b: real([10], 0.5, 2) },
    ({ a, b }) => {
      const shared = g.tanh(g.mul(a, b));
      return [g.add(shared, a), g.div(shared, b), shared];
    },
  ),
];
