/** What the operations that have kernels of their own are made for, on any device. */

import { type AttentionOp, isWeight, type Node, size } from "../graph/tensor.ts";
import type { View } from "../graph/view.ts";

/** The sizes of attention over inputs that lie as a device describes it. */
function attentionShape<L>({ op, inputs }: Node, views: readonly View[], layout: (v: View) => L) {
  const [batch, time, heads, width] = inputs[0].shape;
  const [q, k, v] = views.slice(0, 3).map(layout);
  const { scale, window } = op as AttentionOp;
  const limit = window === undefined ? {} : { window };
  return { batch, time, heads, kvHeads: inputs[1].shape[2], width, scale, ...limit, q, k, v };
}

/** The sizes of attention over a cache. */
export const cachedShape = <L>(node: Node, views: readonly View[], layout: (v: View) => L) => ({
  ...attentionShape(node, views, layout),
  capacity: node.inputs[3].shape[2],
});

/**
 * What a structured node's kernel is made for, by its operation, whose inputs lie as the views say and
 * a device describes it; `writes` is the number of outputs that are kept. Throws, naming it, for an
 * operation that has no kernel of its own.
 */
export function structuredShape<L>(
  node: Node,
  views: readonly View[],
  writes: number,
  layout: (view: View) => L,
) {
  const { op, inputs, outputs } = node;
  const [batch, time, heads, width] = inputs[0].shape;
  const keepStates = writes === 3;
  switch (op.kind) {
    case "wkv6":
    case "wkv6_gradient": {
      const [r, w, k, v] = views.slice(0, 4).map(layout);
      const shape = { batch, time, heads, width, inputs: { r, w, k, v } };
      return op.kind === "wkv6"
        ? { kind: op.kind, shape: { ...shape, keepStates } }
        : { kind: op.kind, shape: { ...shape, dy: layout(views[5]) } };
    }
    case "wkv7":
    case "wkv7_gradient": {
      const [r, w, k, v, kappa, a] = views.slice(0, 6).map(layout);
      const shape = { batch, time, heads, width, inputs: { r, w, k, v, kappa, a } };
      return op.kind === "wkv7"
        ? { kind: op.kind, shape: { ...shape, keepStates } }
        : { kind: op.kind, shape: { ...shape, dy: layout(views[7]) } };
    }
    case "attention":
      return { kind: op.kind, shape: attentionShape(node, views, layout) };
    case "attention_gradient": {
      const shape = { ...attentionShape(node, views, layout), dOutput: layout(views[5]) };
      return { kind: op.kind, shape };
    }
    case "cached_attention":
      return { kind: op.kind, shape: cachedShape(node, views, layout) };
    case "embedding": {
      const [vocabulary, columns] = inputs[0].shape;
      const { dtype } = inputs[0];
      const weight = isWeight(dtype) ? { weight: dtype } : {};
      const shape = { vocabulary, width: columns, tokens: size(inputs[1].shape), ...weight };
      return { kind: op.kind, shape };
    }
    case "embedding_gradient": {
      const [vocabulary, columns] = outputs[0].shape;
      return {
        kind: op.kind,
        shape: { vocabulary, width: columns, tokens: size(inputs[1].shape) },
      };
    }
    default:
      throw new Error(`no kernel for ${op.kind}`);
  }
}
