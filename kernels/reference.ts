/**
 * The meaning of every operation, in plain f64 loops.
 *
 * Nothing here is fast. Devices, decompositions and gradients are tested against it, so each
 * operation is written from its definition and never through another one.
 */

import {
  describe,
  isWeight,
  type Node,
  size,
  type Tensor,
  topologicalOrder,
} from "../graph/tensor.ts";
import { attention, attentionGradient, cachedAttention } from "./reference/attention.ts";
import { concat, expand, pad, permute, slice } from "./reference/layout.ts";
import {
  crossEntropy,
  crossEntropyGradient,
  klDivergence,
  klDivergenceGradient,
} from "./reference/losses.ts";
import { embedding, embeddingGradient, matmul } from "./reference/matmul.ts";
import { groupNorm, rmsNorm, rotary } from "./reference/norms.ts";
import { binary, iota, reduce, select, unary } from "./reference/pointwise.ts";
import type { Value } from "./reference/value.ts";
import { weights } from "./reference/weights.ts";
import { wkv6, wkv6Gradient } from "./reference/wkv6.ts";
import { wkv7, wkv7Gradient } from "./reference/wkv7.ts";

/** Values from outside by the names of the graph's inputs, in row-major order, weights as bytes. */
export type Inputs = Readonly<Record<string, { readonly data: ArrayLike<number> }>>;

/**
 * Computes tensors in f64. Token ids are whole numbers in the same arrays. Throws where an input
 * is missing or has another number of elements, and where an id or a position is out of range.
 */
export function evaluate(outputs: readonly Tensor[], inputs: Inputs): Float64Array[] {
  const values = new Map<Node, readonly Float64Array[]>();
  const valueOf = (t: Tensor): Float64Array => values.get(t.node)![t.output];
  for (const node of topologicalOrder(outputs)) {
    const operands = node.inputs.map((t) => ({ shape: t.shape, data: valueOf(t) }));
    const results = compute(node, operands, inputs);
    node.outputs.forEach(({ shape }, i) => {
      if (results[i].length !== size(shape)) {
        throw new Error(
          `reference: output ${i} of ${node.op.kind}: expected [${shape.join(", ")}], ` +
            `found ${results[i].length} elements`,
        );
      }
    });
    values.set(node, results);
  }
  return outputs.map(valueOf);
}

function read(node: Node, name: string, inputs: Inputs): Float64Array {
  const [{ shape, dtype }] = node.outputs;
  const what = describe({ node, output: 0, shape, dtype });
  const given = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
  if (given === undefined) throw new Error(`reference: ${what}: no value given`);
  if (isWeight(dtype)) return weights(dtype, Uint8Array.from(given.data), shape);
  if (given.data.length !== size(shape)) {
    throw new Error(
      `reference: ${what}: expected ${size(shape)} elements, found ${given.data.length}`,
    );
  }
  return Float64Array.from(given.data);
}

function compute(node: Node, x: readonly Value[], inputs: Inputs): readonly Float64Array[] {
  const { op } = node;
  const [{ shape }] = node.outputs;
  switch (op.kind) {
    case "input":
      return [read(node, op.name, inputs)];
    case "constant":
      return [new Float64Array(size(shape)).fill(op.value)];
    case "iota":
      return [iota(shape)];
    case "unary":
      return [unary(op.fn, x[0])];
    case "binary":
      return [binary(op.fn, x[0], x[1])];
    case "select":
      return [select(x[0], x[1], x[2])];
    case "reduce":
      return [reduce(op.fn, x[0], op.axes)];
    case "reshape":
      return [x[0].data];
    case "permute":
      return [permute(x[0], op.axes)];
    case "expand":
      return [expand(x[0], shape)];
    case "slice":
      return [slice(x[0], op.begin, shape)];
    case "pad":
      return [pad(x[0], op.before, shape)];
    case "concat":
      return [concat(x, op.axis, shape)];
    case "matmul":
      return [matmul(x[0], x[1], op.transposeA, op.transposeB)];
    case "rms_norm":
      return [rmsNorm(x[0], x[1], op.epsilon)];
    case "group_norm":
      return [groupNorm(x[0], x[1], x[2], op.epsilon)];
    case "rotary":
      return [rotary(x[0], x[1], x[2], op.inverse)];
    case "embedding":
      return [embedding(x[0], x[1])];
    case "embedding_gradient":
      return [embeddingGradient(x[0], x[1], shape)];
    case "attention":
      return attention(x[0], x[1], x[2], op);
    case "attention_gradient":
      return attentionGradient(x, op);
    case "cached_attention":
      return cachedAttention(x, op);
    case "wkv6":
      return wkv6(x);
    case "wkv6_gradient":
      return wkv6Gradient(x);
    case "wkv7":
      return wkv7(x);
    case "wkv7_gradient":
      return wkv7Gradient(x);
    case "cross_entropy":
      return [crossEntropy(x[0], x[1], x[2])];
    case "cross_entropy_gradient":
      return crossEntropyGradient(x[0], x[1], x[2], x[3]);
    case "kl_divergence":
      return [klDivergence(x[0], x[1], x[2], x[3])];
    case "kl_divergence_gradient":
      return klDivergenceGradient(x[0], x[1], x[2], x[3], x[4]);
    default:
      return op satisfies never;
  }
}
