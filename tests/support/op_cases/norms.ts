import * as g from "../../../graph/build.ts";
import type { Shape } from "../../../graph/tensor.ts";
import { type OpCase, opCase, real } from "../op_case.ts";

const rows: readonly Shape[] = [[7], [1, 7], [3, 5], [2, 3, 64], [5, 130], [1, 1, 256]];

const heads: readonly Shape[] = [
  [1, 1, 16],
  [5, 3, 9],
  [2, 3, 4, 8],
  [1, 5, 2, 64],
  [2, 1, 1, 128],
];

/** Batch, time, heads, width, and the batch of the angles. */
const turns: readonly (readonly [number, number, number, number, number])[] = [
  [1, 1, 1, 2, 1],
  [2, 5, 3, 8, 1],
  [3, 7, 1, 10, 3],
  [1, 17, 2, 64, 1],
  [2, 3, 2, 128, 2],
];

/** Normalisations and the rotary embedding. */
export const normCases: readonly OpCase[] = [
  ...rows.map((shape) =>
    opCase(
      `rms_norm [${shape.join(", ")}]`,
      { x: real(shape), weight: real(shape.slice(-1), 0.5, 1.5) },
      ({ x, weight }) => g.rmsNorm(x, weight, 1e-6),
    )
  ),
  opCase(
    "rms_norm of small values",
    { x: real([3, 12], -1e-3, 1e-3), weight: real([12]) },
    ({ x, weight }) => g.rmsNorm(x, weight, 1e-5),
  ),
  opCase(
    "residual and rms_norm",
    { x: real([2, 5, 18]), y: real([2, 5, 18]), weight: real([18]) },
    ({ x, y, weight }) => {
      const sum = g.add(x, y);
      return [sum, g.rmsNorm(sum, weight, 1e-6)];
    },
  ),
  ...heads.map((shape) =>
    opCase(
      `group_norm [${shape.join(", ")}]`,
      { x: real(shape, -1, 2), weight: real(shape.slice(-2)), bias: real(shape.slice(-2)) },
      ({ x, weight, bias }) => g.groupNorm(x, weight, bias, 64e-5),
    )
  ),
  ...turns.flatMap(([batch, time, heads, width, angles]) =>
    [false, true].map((inverse) =>
      opCase(
        `rotary [${batch}, ${time}, ${heads}, ${width}] by [${angles}]${inverse ? " back" : ""}`,
        {
          x: real([batch, time, heads, width]),
          cosine: real([angles, time, width / 2]),
          sine: real([angles, time, width / 2]),
        },
        ({ x, cosine, sine }) => g.rotary(x, cosine, sine, inverse),
        ["x"],
      )
    )
  ),
];
