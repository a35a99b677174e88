import * as g from "../../../graph/build.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { type OpCase, opCase, real, whole } from "../op_case.ts";

function logSumExp(x: Tensor): Tensor {
  const top = g.largest(x, [-1]);
  return g.add(g.log(g.sum(g.exp(g.sub(x, top)), [-1])), top);
}

function softmax(x: Tensor): Tensor {
  const powers = g.exp(g.sub(x, g.largest(x, [-1])));
  return g.div(powers, g.sum(powers, [-1]));
}

/** x/‖x‖ over the last axis. */
function unit(x: Tensor): Tensor {
  return g.div(x, g.sqrt(g.sum(g.mul(x, x), [-1])));
}

/** What models, losses and the optimizer build from primitives. */
export const compositionCases: readonly OpCase[] = [
  opCase("softmax [3, 5]", { x: real([3, 5], -3, 3) }, ({ x }) => softmax(x)),
  opCase("softmax [2, 3, 70]", { x: real([2, 3, 70], -3, 3) }, ({ x }) => softmax(x)),
  opCase(
    "softmax over rows",
    { x: real([9, 6], -3, 3) },
    ({ x }) => g.permute(softmax(g.permute(x, [1, 0])), [1, 0]),
  ),
  opCase("log-sum-exp [3, 5]", { x: real([3, 5], -30, 30) }, ({ x }) => logSumExp(x)),
  opCase("log-sum-exp [1, 257]", { x: real([1, 257], -3, 3) }, ({ x }) => logSumExp(x)),
  opCase(
    "KL of logits",
    { student: real([2, 5, 21], -3, 3), teacher: real([2, 5, 21], -3, 3) },
    ({ student, teacher }) => {
      const logP = g.sub(teacher, logSumExp(teacher));
      const logQ = g.sub(student, logSumExp(student));
      return g.meanAll(g.sum(g.mul(g.exp(logP), g.sub(logP, logQ)), [-1]));
    },
  ),
  opCase(
    "alignment loss",
    { student: real([3, 2, 5, 12]), teacher: real([3, 2, 5, 12]) },
    ({ student, teacher }) => {
      const apart = g.sub(teacher, student);
      return g.mul(g.meanAll(g.sqrt(g.sum(g.mul(apart, apart), [-1]))), 12 ** -0.5);
    },
  ),
  opCase("unit keys", { k: real([2, 5, 3, 8], 0.1, 1) }, ({ k }) => unit(k)),
  opCase(
    "decay",
    { x: real([2, 5, 12], -3, 3), base: real([12]) },
    ({ x, base }) => g.exp(g.mul(g.sigmoid(g.add(base, x)), -Math.exp(-0.5))),
  ),
  opCase(
    "value residual",
    { v: real([2, 5, 12]), first: real([2, 5, 12]), gate: real([2, 5, 12]), base: real([12]) },
    ({ v, first, gate, base }) => g.add(v, g.mul(g.sub(first, v), g.sigmoid(g.add(base, gate)))),
  ),
  opCase(
    "gated feed-forward",
    { x: real([2, 5, 6]), gate: real([10, 6]), up: real([10, 6]), down: real([6, 10]) },
    ({ x, gate, up, down }) =>
      g.add(x, g.linear(g.mul(g.silu(g.linear(x, gate)), g.linear(x, up)), down)),
  ),
  opCase(
    "causal softmax attention",
    { q: real([2, 3, 7, 8]), k: real([2, 3, 7, 8]), v: real([2, 3, 7, 8]) },
    ({ q, k, v }) => {
      const scores = g.mul(g.matmul(q, k, { transposeB: true }), 8 ** -0.5);
      const column = g.iota([7, 7]);
      const later = g.less(g.permute(column, [1, 0]), column);
      const masked = g.select(g.expand(later, scores.shape), -1e30, scores);
      return g.matmul(softmax(masked), v);
    },
  ),
  opCase(
    "layer normalisation",
    { x: real([5, 34]), weight: real([34]), bias: real([34]) },
    ({ x, weight, bias }) => {
      const centred = g.sub(x, g.mean(x, [-1]));
      const variance = g.mean(g.mul(centred, centred), [-1]);
      return g.add(g.mul(g.div(centred, g.sqrt(g.add(variance, 1e-5))), weight), bias);
    },
  ),
  opCase(
    "AdamW step",
    {
      weight: real([7, 9]),
      gradient: real([7, 9]),
      first: real([7, 9]),
      second: real([7, 9], 0, 1),
      rate: real([1], 0.01, 0.1),
    },
    ({ weight, gradient, first, second, rate }) => {
      const m = g.add(g.mul(first, 0.9), g.mul(gradient, 0.1));
      const v = g.add(g.mul(second, 0.95), g.mul(g.mul(gradient, gradient), 0.05));
      const step = g.div(m, g.add(g.sqrt(v), 1e-8));
      return [g.sub(weight, g.mul(step, rate)), m, v];
    },
    [],
  ),
  opCase("norm of gradients", { a: real([7, 9]), b: real([130]), c: real([1]) }, ({ a, b, c }) => {
    const squares = [a, b, c].map((t) =>
      g.mul(g.meanAll(g.mul(t, t)), t.shape.reduce((x, y) => x * y))
    );
    const norm = g.sqrt(squares.reduce((x, y) => g.add(x, y)));
    const factor = g.minimum(g.div(1, g.add(norm, 1e-6)), 1);
    return [g.mul(a, factor), g.mul(b, factor), g.mul(c, factor)];
  }),
  opCase(
    "accuracy",
    { x: whole([9, 5], 4), y: real([9, 1], 0, 3) },
    ({ x, y }) => g.mean(g.less(g.largest(x, [-1]), y), [0]),
    [],
  ),
];
