/** Kernels of the operations that have one of their own, chosen by operation. */

import type { Node } from "../graph/tensor.ts";
import type { View } from "../graph/view.ts";
import { attention } from "./attention/attention.ts";
import { attentionGradient } from "./attention/gradient.ts";
import { cachedAttention } from "./attention/cached.ts";
import { embedding, embeddingGradient } from "./embedding.ts";
import type { Kernel, OperandLayout } from "./kernel.ts";
import { structuredShape } from "./structured_shape.ts";
import { wkv6 } from "./wkv/wkv6.ts";
import { wkv6Gradient } from "./wkv/wkv6_gradient.ts";
import { wkv7 } from "./wkv/wkv7.ts";
import { wkv7Gradient } from "./wkv/wkv7_gradient.ts";

/** A view as a layout; its offset is already in the operand's address. */
function layout({ shape, strides }: View): OperandLayout {
  return { offset: 0, axes: shape.map((size, i) => [{ size, stride: strides[i] }]) };
}

/**
 * The kernel of a structured node whose inputs lie as the views say; `writes` is the number of
 * outputs that are kept.
 */
export function structuredKernel(node: Node, views: readonly View[], writes: number): Kernel {
  const of = structuredShape(node, views, writes, layout);
  switch (of.kind) {
    case "wkv6":
      return wkv6(of.shape);
    case "wkv6_gradient":
      return wkv6Gradient(of.shape);
    case "wkv7":
      return wkv7(of.shape);
    case "wkv7_gradient":
      return wkv7Gradient(of.shape);
    case "attention":
      return attention(of.shape);
    case "attention_gradient":
      return attentionGradient(of.shape);
    case "cached_attention":
      return { ...cachedAttention(of.shape), inPlace: [3, 4] };
    case "embedding":
      return embedding(of.shape);
    case "embedding_gradient":
      return embeddingGradient(of.shape);
    default:
      return of satisfies never;
  }
}
