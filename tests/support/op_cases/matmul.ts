import * as g from "../../../graph/build.ts";
import type { Shape } from "../../../graph/tensor.ts";
import { ids, type OpCase, opCase, real } from "../op_case.ts";

/** Rows, inner size, columns. */
const sizes: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [1, 64, 130],
  [5, 7, 9],
  [6, 16, 8],
  [13, 1, 4],
  [33, 67, 1],
  [12, 64, 48],
  [47, 130, 71],
  [129, 33, 18],
  [200, 96, 162],
];

const transposes = [false, true].flatMap((a) => [false, true].map((b) => [a, b] as const));
const stored = ([rows, columns]: Shape, transposed: boolean): Shape =>
  transposed ? [columns, rows] : [rows, columns];
const mark = (transposed: boolean): string => transposed ? "ᵀ" : "";

const plain = sizes.flatMap(([m, k, n]) =>
  transposes.map(([transposeA, transposeB]) =>
    opCase(
      `matmul ${m}×${k}${mark(transposeA)} ${k}×${n}${mark(transposeB)}`,
      { a: real(stored([m, k], transposeA)), b: real(stored([k, n], transposeB)) },
      ({ a, b }) => g.matmul(a, b, { transposeA, transposeB }),
    )
  )
);

const batched = transposes.flatMap(([transposeA, transposeB]) => {
  const [a, b] = [stored([9, 6], transposeA), stored([6, 5], transposeB)];
  const name = `9×6${mark(transposeA)} 6×5${mark(transposeB)}`;
  return [
    opCase(
      `batched matmul ${name}`,
      { a: real([3, ...a]), b: real([3, ...b]) },
      ({ a, b }) => g.matmul(a, b, { transposeA, transposeB }),
    ),
    opCase(
      `matmul with two leading axes ${name}`,
      { a: real([2, 3, ...a]), b: real([2, 3, ...b]) },
      ({ a, b }) => g.matmul(a, b, { transposeA, transposeB }),
    ),
    opCase(
      `batch times one matrix ${name}`,
      { a: real([2, 3, ...a]), b: real(b) },
      ({ a, b }) => g.matmul(a, b, { transposeA, transposeB }),
    ),
  ];
});

/** Matrix products, with tables' rows, which are products with one-hot matrices. */
export const matmulCases: readonly OpCase[] = [
  ...plain,
  ...batched,
  opCase(
    "linear with bias",
    { x: real([2, 5, 7]), weight: real([11, 7]), bias: real([11]) },
    ({ x, weight, bias }) => g.linear(x, weight, bias),
  ),
  opCase(
    "linear of one token with bias",
    { x: real([1, 1, 66]), weight: real([130, 66]), bias: real([130]) },
    ({ x, weight, bias }) => g.linear(x, weight, bias),
  ),
  opCase(
    "low-rank adapter",
    { x: real([2, 5, 12]), down: real([12, 4]), up: real([4, 12]), base: real([12]) },
    ({ x, down, up, base }) => g.sigmoid(g.add(base, g.matmul(g.tanh(g.matmul(x, down)), up))),
  ),
  opCase(
    "matmul of computed operands",
    { a: real([6, 7]), b: real([9, 7]), c: real([7]) },
    ({ a, b, c }) => g.matmul(g.mul(a, c), g.exp(b), { transposeB: true }),
  ),
  opCase(
    "matmul of views",
    { q: real([2, 5, 3, 8]), k: real([2, 5, 3, 8]) },
    ({ q, k }) =>
      g.matmul(g.permute(q, [0, 2, 1, 3]), g.permute(k, [0, 2, 1, 3]), { transposeB: true }),
  ),
  opCase(
    "matmul of slices",
    { x: real([2, 9, 10]), weight: real([14, 5]) },
    ({ x, weight }) =>
      g.matmul(g.slice(x, 2, 5, 10), g.slice(weight, 0, 2, 13), { transposeB: true }),
  ),
  opCase(
    "matmul with its own transpose",
    { a: real([7, 5]) },
    ({ a }) => g.matmul(a, a, { transposeB: true }),
  ),
  opCase(
    "three matmuls of one input",
    { x: real([7, 6]), a: real([5, 6]), b: real([9, 6]), c: real([5, 6]) },
    ({ x, a, b, c }) => [
      g.mul(g.linear(x, a), g.linear(x, c)),
      g.linear(x, b),
    ],
  ),
  opCase(
    "sums of matmuls",
    {
      a: real([50, 40]),
      b: real([40, 33]),
      c: real([50, 36]),
      d: real([33, 36]),
      e: real([33, 50]),
    },
    ({ a, b, c, d, e }) => {
      const two = g.add(g.matmul(a, b), g.matmul(c, d, { transposeB: true }));
      const three = g.add(
        g.reshape(g.matmul(a, g.tanh(b)), [25, 2, 33]),
        g.reshape(two, [25, 2, 33]),
      );
      return [
        g.matmul(e, g.tanh(g.reshape(three, [50, 33]))),
        g.add(g.matmul(e, a), g.matmul(e, a)),
      ];
    },
  ),
  opCase(
    "matmul of one row that is a column of a wider matrix",
    { x: real([20, 6]), weight: real([65, 20]) },
    ({ x, weight }) =>
      g.matmul(g.slice(x, 1, 2, 3), weight, { transposeA: true, transposeB: true }),
  ),
  opCase(
    "embedding [2, 5]",
    { table: real([11, 7]), at: ids([2, 5], 11) },
    ({ table, at }) => g.embedding(table, at),
  ),
  opCase(
    "embedding with repeats",
    { table: real([3, 66]), at: ids([4, 9], 3) },
    ({ table, at }) => g.embedding(table, at),
  ),
  opCase(
    "embedding of one token",
    { table: real([11, 8]), at: ids([1], 11) },
    ({ table, at }) => g.embedding(table, at),
  ),
];
