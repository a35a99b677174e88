import * as g from "../../../graph/build.ts";
import type { Shape } from "../../../graph/tensor.ts";
import { ids, type OpCase, opCase, real } from "../op_case.ts";

const permutations: readonly (readonly [Shape, readonly number[]])[] = [
  [[3, 5], [1, 0]],
  [[33, 18], [1, 0]],
  [[2, 3, 5], [0, 2, 1]],
  [[2, 3, 5], [2, 0, 1]],
  [[2, 5, 3, 8], [0, 2, 1, 3]],
  [[2, 5, 3, 7], [3, 1, 2, 0]],
];

/** Along which axis, from where to where. */
const slices: readonly (readonly [Shape, number, number, number])[] = [
  [[9], 0, 2, 7],
  [[3, 10], 1, 0, 5],
  [[3, 10], -1, 5, 10],
  [[7, 4], 0, 6, 7],
  [[2, 7, 3], 1, 1, 6],
];

/** Shape, zeros before it, and the shape they fill. */
const pads: readonly (readonly [Shape, Shape, Shape])[] = [
  [[5], [2], [9]],
  [[3, 4], [0, 1], [3, 7]],
  [[3, 4], [2, 0], [5, 4]],
  [[2, 3, 4], [1, 0, 2], [4, 3, 7]],
];

const concats: readonly (readonly [readonly Shape[], number])[] = [
  [[[3], [5]], 0],
  [[[2, 3], [2, 4], [2, 1]], 1],
  [[[2, 3], [1, 3]], 0],
  [[[2, 1, 3], [2, 5, 3]], -2],
];

const text = (shape: Shape): string => `[${shape.join(", ")}]`;

/** Operations that move elements. */
export const layoutCases: readonly OpCase[] = [
  opCase("reshape", { x: real([6, 10]) }, ({ x }) => g.exp(g.reshape(x, [4, 3, 5]))),
  opCase("reshape alone", { x: real([6, 10]) }, ({ x }) => g.reshape(x, [60])),
  opCase("an input as it is", { x: real([6, 10]) }, ({ x }) => x),
  ...permutations.flatMap(([shape, axes]) => [
    opCase(`permute ${text(shape)} to ${axes}`, { x: real(shape) }, ({ x }) => g.permute(x, axes)),
    opCase(
      `tanh of permute ${text(shape)} to ${axes}`,
      { x: real(shape) },
      ({ x }) => g.tanh(g.permute(x, axes)),
    ),
  ]),
  opCase(
    "reshape of permute",
    { x: real([2, 5, 3, 8]) },
    ({ x }) => g.reshape(g.permute(x, [0, 2, 1, 3]), [6, 40]),
  ),
  opCase(
    "permute of reshape of permute",
    { x: real([2, 5, 3, 8]) },
    ({ x }) => g.neg(g.permute(g.reshape(g.permute(x, [0, 2, 1, 3]), [6, 40]), [1, 0])),
  ),
  ...slices.map(([shape, axis, begin, end]) =>
    opCase(
      `slice ${text(shape)} ${axis}: ${begin} … ${end}`,
      { x: real(shape) },
      ({ x }) => g.slice(x, axis, begin, end),
    )
  ),
  opCase(
    "slice of permute",
    { x: real([4, 6, 5]) },
    ({ x }) => g.exp(g.slice(g.permute(x, [1, 2, 0]), 1, 1, 4)),
  ),
  opCase(
    "slices that overlap",
    { x: real([3, 9]) },
    ({ x }) => g.mul(g.slice(x, 1, 0, 7), g.slice(x, 1, 2, 9)),
  ),
  opCase("slices one after another", { x: real([5, 12]) }, ({ x }) => {
    const [a, b, c] = [0, 4, 8].map((begin) => g.slice(x, 1, begin, begin + 4));
    return g.add(g.mul(a, b), g.exp(c));
  }),
  opCase(
    "slice of ids",
    { table: real([7, 5]), at: ids([3, 6], 7) },
    ({ table, at }) => g.embedding(table, g.slice(at, 1, 1, 5)),
  ),
  ...pads.map(([shape, before, whole]) =>
    opCase(
      `pad ${text(shape)} to ${text(whole)}`,
      { x: real(shape) },
      ({ x }) => g.pad(x, before, whole),
    )
  ),
  opCase("token shift", { x: real([2, 7, 6]), mix: real([6]) }, ({ x, mix }) => {
    const before = g.pad(g.slice(x, 1, 0, 6), [0, 1, 0], [2, 7, 6]);
    return g.add(x, g.mul(g.sub(before, x), mix));
  }),
  ...concats.map(([parts, axis]) =>
    opCase(
      `concat ${parts.map(text).join(" ")} along ${axis}`,
      Object.fromEntries(parts.map((shape, i) => [`part ${i}`, real(shape)])),
      (inputs) => g.concat(parts.map((_, i) => inputs[`part ${i}`]), axis),
    )
  ),
  opCase(
    "concat of computed parts",
    { a: real([3, 5]), b: real([5, 3]) },
    ({ a, b }) => g.mul(g.concat([g.exp(a), g.permute(b, [1, 0]), a], 0), 2),
  ),
  opCase("concat with itself", { a: real([3, 5]) }, ({ a }) => g.concat([a, a], 1)),
  opCase("expand alone", { x: real([3, 1]) }, ({ x }) => g.expand(x, [2, 3, 5])),
  opCase("repeated key/value heads", { x: real([2, 5, 3, 8]) }, ({ x }) => {
    const one = g.reshape(x, [2, 5, 3, 1, 8]);
    return g.reshape(g.expand(one, [2, 5, 3, 4, 8]), [2, 5, 12, 8]);
  }),
];
