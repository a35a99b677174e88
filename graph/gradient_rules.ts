/** The rules of differentiation, one an operation. */

import * as g from "./build.ts";
import { fail } from "./node.ts";
import { outputsOf } from "./rewrite.ts";
import { isWeight, type Node, type Shape, type Tensor } from "./tensor.ts";

type Gradients = readonly (Tensor | undefined)[];

/** Sums a gradient over the axes that were repeated to reach its shape. */
function unexpand(gradient: Tensor, shape: Shape): Tensor {
  const axes = shape.flatMap((n, i) => n === 1 && gradient.shape[i] !== 1 ? [i] : []);
  return g.sum(gradient, axes);
}

function unaryRule(node: Node, dy: Tensor): Tensor {
  const [x] = node.inputs;
  const [y] = outputsOf(node);
  const { op } = node;
  if (op.kind !== "unary") throw new Error("gradient: not pointwise");
  switch (op.fn) {
    case "copy":
      return dy;
    case "neg":
      return g.neg(dy);
    case "abs":
      return g.select(g.less(x, 0), g.neg(dy), dy);
    case "exp":
      return g.mul(dy, y);
    case "log":
      return g.div(dy, x);
    case "sqrt":
      return g.div(g.mul(dy, 0.5), y);
    case "reciprocal":
      return g.neg(g.mul(dy, g.mul(y, y)));
    case "tanh":
      return g.mul(dy, g.sub(1, g.mul(y, y)));
    case "sigmoid":
      return g.mul(dy, g.mul(y, g.sub(1, y)));
    default:
      return op satisfies never;
  }
}

function binaryRule(node: Node, dy: Tensor): Gradients {
  const [a, b] = node.inputs;
  const [y] = outputsOf(node);
  const { op } = node;
  if (op.kind !== "binary") throw new Error("gradient: not pointwise");
  switch (op.fn) {
    case "add":
      return [dy, dy];
    case "sub":
      return [dy, g.neg(dy)];
    case "mul":
      return [g.mul(dy, b), g.mul(dy, a)];
    case "div":
      return [g.div(dy, b), g.neg(g.div(g.mul(dy, y), b))];
    case "min":
      return [g.select(g.less(b, a), 0, dy), g.select(g.less(b, a), dy, 0)];
    case "max":
      return [g.select(g.less(a, b), 0, dy), g.select(g.less(a, b), dy, 0)];
    case "after":
      return [dy, undefined];
    case "less":
    case "equal":
      return [undefined, undefined];
    default:
      return op satisfies never;
  }
}

function matmulRule(node: Node, dy: Tensor, needs: readonly boolean[]): Gradients {
  const [a, b] = node.inputs;
  const { op } = node;
  if (op.kind !== "matmul") throw new Error("gradient: not a matmul");
  const { transposeA, transposeB } = op;
  // y = A·B with A = aᵀ or a: dA = dy·Bᵀ, dB = Aᵀ·dy, each stored as its operand is.
  const da = () =>
    transposeA
      ? g.matmul(b, dy, { transposeA: transposeB, transposeB: true })
      : g.matmul(dy, b, { transposeB: !transposeB });
  const db = () =>
    transposeB
      ? g.matmul(dy, a, { transposeA: true, transposeB: transposeA })
      : g.matmul(a, dy, { transposeA: !transposeA });
  return [needs[0] ? da() : undefined, needs[1] ? db() : undefined];
}

/** With r = 1/√(mean(x²)+ε): dx = r·(g − x̂·mean(g⊙x̂)), g = dy⊙weight, x̂ = x·r. */
function rmsNormRule(node: Node, dy: Tensor, needs: readonly boolean[]): Gradients {
  const [x, weight] = node.inputs;
  if (node.op.kind !== "rms_norm") throw new Error("gradient: not an RMSNorm");
  const scale = g.reciprocal(g.sqrt(g.add(g.mean(g.mul(x, x), [-1]), node.op.epsilon)));
  const normal = g.mul(x, scale);
  const dn = g.mul(dy, weight);
  const dx = () => g.mul(scale, g.sub(dn, g.mul(normal, g.mean(g.mul(dn, normal), [-1]))));
  const leading = x.shape.slice(0, -1).map((_, i) => i);
  const dw = () => g.reshape(g.sum(g.mul(dy, normal), leading), weight.shape);
  return [needs[0] ? dx() : undefined, needs[1] ? dw() : undefined];
}

/** dx = r·(g − mean(g) − x̂·mean(g⊙x̂)) per head, g = dy⊙weight. */
function groupNormRule(node: Node, dy: Tensor, needs: readonly boolean[]): Gradients {
  const [x, weight, bias] = node.inputs;
  if (node.op.kind !== "group_norm") throw new Error("gradient: not a GroupNorm");
  const centred = g.sub(x, g.mean(x, [-1]));
  const variance = g.mean(g.mul(centred, centred), [-1]);
  const scale = g.reciprocal(g.sqrt(g.add(variance, node.op.epsilon)));
  const normal = g.mul(centred, scale);
  const dn = g.mul(dy, weight);
  const dx = () =>
    g.mul(
      scale,
      g.sub(g.sub(dn, g.mean(dn, [-1])), g.mul(normal, g.mean(g.mul(dn, normal), [-1]))),
    );
  const leading = x.shape.slice(0, -2).map((_, i) => i);
  const dw = () => g.reshape(g.sum(g.mul(dy, normal), leading), weight.shape);
  const db = () => g.reshape(g.sum(dy, leading), bias.shape);
  return [
    needs[0] ? dx() : undefined,
    needs[1] ? dw() : undefined,
    needs[2] ? db() : undefined,
  ];
}

function attentionRule(node: Node, outputs: Gradients): Gradients {
  const [q, k, v] = node.inputs;
  if (node.op.kind !== "attention") throw new Error("gradient: not attention");
  if (outputs[1] !== undefined) throw new Error("gradient: log-sum-exp is not differentiated");
  const [output, logSumExp] = outputsOf(node);
  return g.nodes(
    { ...node.op, kind: "attention_gradient" },
    [q, k, v, output, logSumExp, outputs[0]!],
    [q, k, v].map(({ shape }) => ({ shape, dtype: "f32" as const })),
  );
}

function recurrenceRule(
  node: Node,
  outputs: Gradients,
  kind: "wkv6_gradient" | "wkv7_gradient",
): Gradients {
  const { inputs } = node;
  const [y, last, states] = outputsOf(node);
  if (outputs[2] !== undefined) throw new Error("gradient: chunk states are not differentiated");
  const dy = outputs[0] ?? g.constant(0, y.shape);
  const dState = outputs[1] ?? g.constant(0, last.shape);
  return g.nodes(
    { kind },
    [...inputs.slice(0, -1), states, dy, dState],
    inputs.map(({ shape }) => ({ shape, dtype: "f32" as const })),
  );
}

function lossRule(
  node: Node,
  dloss: Tensor,
  kind: "cross_entropy_gradient" | "kl_divergence_gradient",
): Gradients {
  const [hidden, head] = node.inputs;
  if (isWeight(head.dtype)) fail("gradient", [head], "a head in f32, which takes a gradient");
  const [, dHidden, dHead] = g.nodes({ kind }, [...node.inputs, dloss], [
    { shape: dloss.shape, dtype: "f32" },
    { shape: hidden.shape, dtype: "f32" },
    { shape: head.shape, dtype: "f32" },
  ]);
  return [dHidden, dHead];
}

/**
 * Gradients of a node's inputs from those of its outputs; undefined where there is none.
 * @param needs whether the gradient of an input is asked for
 * @throws Error for what is not differentiated.
 */
export function gradientRule(
  node: Node,
  outputs: Gradients,
  needs: readonly boolean[],
): Gradients {
  const { op, inputs } = node;
  const dy = outputs[0] ?? g.constant(0, node.outputs[0].shape);
  switch (op.kind) {
    case "input":
    case "constant":
    case "iota":
      return [];
    case "unary":
      return [unaryRule(node, dy)];
    case "binary":
      return binaryRule(node, dy);
    case "select":
      return [undefined, g.select(inputs[0], dy, 0), g.select(inputs[0], 0, dy)];
    case "reduce": {
      const [x] = inputs;
      if (op.fn === "sum") return [g.expand(dy, x.shape)];
      const mask = g.equal(x, g.expand(outputsOf(node)[0], x.shape));
      return [g.mul(mask, g.div(dy, g.sum(mask, op.axes)))];
    }
    case "reshape":
      return [g.reshape(dy, inputs[0].shape)];
    case "permute": {
      const inverse = op.axes.map((_, i) => op.axes.indexOf(i));
      return [g.permute(dy, inverse)];
    }
    case "expand":
      return [unexpand(dy, inputs[0].shape)];
    case "slice":
      return [g.pad(dy, op.begin, inputs[0].shape)];
    case "pad": {
      let inner = dy;
      inputs[0].shape.forEach((n, axis) => {
        inner = g.slice(inner, axis, op.before[axis], op.before[axis] + n);
      });
      return [inner];
    }
    case "concat": {
      let begin = 0;
      return inputs.map((part) => {
        const end = begin + part.shape[op.axis];
        const gradient = g.slice(dy, op.axis, begin, end);
        begin = end;
        return gradient;
      });
    }
    case "matmul":
      return matmulRule(node, dy, needs);
    case "rms_norm":
      return rmsNormRule(node, dy, needs);
    case "group_norm":
      return groupNormRule(node, dy, needs);
    case "rotary":
      if (needs[1] || needs[2]) throw new Error("gradient: the angles of a rotary are fixed");
      return [g.rotary(dy, inputs[1], inputs[2], !op.inverse)];
    case "embedding":
      return [g.embeddingGradient(dy, inputs[1], inputs[0].shape[0])];
    case "attention":
      return attentionRule(node, outputs);
    case "wkv6":
      return recurrenceRule(node, outputs, "wkv6_gradient");
    case "wkv7":
      return recurrenceRule(node, outputs, "wkv7_gradient");
    case "cross_entropy":
      return lossRule(node, dy, "cross_entropy_gradient");
    case "kl_divergence":
      if (needs[2] || needs[3]) throw new Error("gradient: the teacher's side of a KL is fixed");
      return lossRule(node, dy, "kl_divergence_gradient");
    case "embedding_gradient":
    case "attention_gradient":
    case "cached_attention":
    case "wkv6_gradient":
    case "wkv7_gradient":
    case "cross_entropy_gradient":
    case "kl_divergence_gradient":
      throw new Error(`gradient: ${op.kind} is not differentiated`);
    default:
      return op satisfies never;
  }
}
