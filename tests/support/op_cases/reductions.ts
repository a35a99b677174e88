import * as g from "../../../graph/build.ts";
import type { Shape } from "../../../graph/tensor.ts";
import { type OpCase, opCase, real, whole } from "../op_case.ts";

const reductions: readonly (readonly [Shape, readonly number[]])[] = [
  [[1], [0]],
  [[9], [0]],
  [[1, 9], [1]],
  [[9, 1], [0]],
  [[3, 5], [-1]],
  [[3, 5], [0]],
  [[3, 5], [0, 1]],
  [[2, 3, 5], [1]],
  [[2, 3, 5], [0, 2]],
  [[2, 1, 3, 5], [0, 2]],
  [[2, 3, 4, 5], [1, 3]],
  [[2, 3, 4, 5], [0, 1]],
  [[5, 257], [1]],
  [[300, 3], [0]],
  [[67, 34], [0]],
];

/** Sums, largest values and means. */
export const reductionCases: readonly OpCase[] = [
  ...reductions.flatMap(([shape, axes]) => {
    const name = `[${shape.join(", ")}] over ${axes.join(", ")}`;
    return [
      opCase(`sum ${name}`, { x: real(shape) }, ({ x }) => g.sum(x, axes)),
      opCase(`largest ${name}`, { x: real(shape, -9, -1) }, ({ x }) => g.largest(x, axes)),
      opCase(`mean ${name}`, { x: real(shape) }, ({ x }) => g.mean(x, axes)),
    ];
  }),
  opCase("largest with ties", { x: whole([7, 9], 3) }, ({ x }) => g.largest(x, [1]), []),
  opCase("mean of everything", { x: real([3, 5, 7]) }, ({ x }) => g.meanAll(g.mul(x, x))),
  opCase(
    "sum of a product",
    { a: real([5, 33]), b: real([5, 33]) },
    ({ a, b }) => g.sum(g.mul(a, b), [1]),
  ),
  opCase(
    "sum after a chain and a chain after it",
    { x: real([6, 17]) },
    ({ x }) => g.sqrt(g.add(g.sum(g.exp(g.mul(x, 2)), [-1]), 1)),
  ),
  opCase("one tensor summed both ways", { x: real([13, 21]) }, ({ x }) => [
    g.sum(x, [0]),
    g.sum(x, [1]),
    g.largest(x, [0, 1]),
  ]),
  opCase(
    "columns of a loop and its rows summed",
    { x: real([4, 16, 3, 7]), w: real([3, 7]) },
    ({ x, w }) => {
      const y = g.mul(g.tanh(x), w);
      const scaled = g.mul(y, g.sum(g.mul(y, x), [-1]));
      return [g.sum(scaled, [0, 1]), g.sum(y, [0, 1, 2]), g.add(scaled, 1)];
    },
  ),
  opCase("columns of a chain that nobody else reads", { x: real([96, 10]), y: real([96, 10]) }, ({
    x,
    y,
  }) => [g.sum(g.exp(g.mul(x, y)), [0]), g.sum(g.mul(x, y), [0])]),
  opCase(
    "sum of a repeated tensor",
    { x: real([1, 9]), y: real([4, 9]) },
    ({ x, y }) => g.sum(g.mul(g.expand(x, [4, 9]), y), [1]),
  ),
  opCase(
    "sum of a permuted tensor",
    { x: real([5, 6, 7]) },
    ({ x }) => g.sum(g.permute(x, [2, 0, 1]), [1]),
  ),
];
