/** GPU kernels of the operations that have one of their own, chosen by operation. */

import { type AttentionOp, isWeight, type Node, size } from "../../graph/tensor.ts";
import type { View } from "../../graph/view.ts";
import type { StepKernels } from "../program.ts";
import { attention, type GpuAttentionShape } from "./attention.ts";
import { attentionGradient } from "./attention_gradient.ts";
import { cachedAttention, type GpuCachedAttentionShape } from "./cached_attention.ts";
import { embedding, embeddingGradient } from "./embedding.ts";
import { headStrides } from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import type { ProductNumbers } from "./tiling.ts";
import { wkvForward, wkvGradient } from "./wkv.ts";

/**
 * The kernel, or kernels, of a structured node whose inputs lie as the views say; `writes` is the
 * number of outputs that are kept.
 */
export function structuredKernel(
  node: Node,
  views: readonly View[],
  writes: number,
  numbers: ProductNumbers = "f32",
): GpuKernel | StepKernels<GpuKernel> {
  const [batch, time, heads, width] = node.inputs[0].shape;
  switch (node.op.kind) {
    case "attention":
    case "attention_gradient":
    case "cached_attention": {
      const shape = { ...attentionShape(node, views), numbers };
      if (node.op.kind === "attention") return attention(shape);
      if (node.op.kind === "attention_gradient") {
        return attentionGradient({ ...shape, dOutput: headStrides(views[5]) });
      }
      return cachedAttention(cachedShape(node, views));
    }
    case "wkv6":
    case "wkv6_gradient": {
      const [r, w, k, v] = views.map(headStrides);
      const shape = { batch, time, heads, width, inputs: { r, w, k, v } };
      return node.op.kind === "wkv6"
        ? wkvForward({ ...shape, keepStates: writes === 3 })
        : wkvGradient({ ...shape, dy: headStrides(views[5]) });
    }
    case "wkv7":
    case "wkv7_gradient": {
      const [r, w, k, v, kappa, a] = views.map(headStrides);
      const shape = { batch, time, heads, width, inputs: { r, w, k, v, kappa, a } };
      return node.op.kind === "wkv7"
        ? wkvForward({ ...shape, keepStates: writes === 3 })
        : wkvGradient({ ...shape, dy: headStrides(views[7]) });
    }
    case "embedding": {
      const [vocabulary, columns] = node.inputs[0].shape;
      const { dtype } = node.inputs[0];
      const weight = isWeight(dtype) ? { weight: dtype } : {};
      const tokens = size(node.inputs[1].shape);
      return embedding({ vocabulary, width: columns, tokens, ...weight });
    }
    case "embedding_gradient": {
      const [vocabulary, columns] = node.outputs[0].shape;
      return embeddingGradient({ vocabulary, width: columns, tokens: size(node.inputs[1].shape) });
    }
    default:
      throw new Error(`gpu: no kernel for ${node.op.kind}`);
  }
}

function attentionShape({ op, inputs }: Node, views: readonly View[]): GpuAttentionShape {
  const [batch, time, heads, width] = inputs[0].shape;
  const [q, k, v] = views.map(headStrides);
  const { scale, window } = op as AttentionOp;
  const limit = window === undefined ? {} : { window };
  return { batch, time, heads, kvHeads: inputs[1].shape[2], width, scale, ...limit, q, k, v };
}

/** What cached attention is made for. */
export const cachedShape = (node: Node, views: readonly View[]): GpuCachedAttentionShape => ({
  ...attentionShape(node, views),
  capacity: node.inputs[3].shape[2],
});
