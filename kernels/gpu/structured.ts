/** GPU kernels of the operations that have one of their own, chosen by operation. */

import type { Node } from "../../graph/tensor.ts";
import type { View } from "../../graph/view.ts";
import type { StepKernels } from "../program.ts";
import { structuredShape } from "../structured_shape.ts";
import { attention } from "./attention/attention.ts";
import { attentionGradient } from "./attention/gradient.ts";
import { cachedAttention } from "./attention/cached.ts";
import { embedding, embeddingGradient } from "./embedding.ts";
import { headStrides } from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";
import type { ProductNumbers } from "./matmul/tiling.ts";
import { wkvForward, wkvGradient } from "./wkv/wkv.ts";

/**
 * The kernel, or kernels, of a structured node whose inputs lie as the views say; `writes` is the
 * number of outputs that are kept. Attention multiplies in the numbers that are given.
 */
export function structuredKernel(
  node: Node,
  views: readonly View[],
  writes: number,
  numbers: ProductNumbers = "f32",
): GpuKernel | StepKernels<GpuKernel> {
  const of = structuredShape(node, views, writes, headStrides);
  switch (of.kind) {
    case "wkv6":
    case "wkv7":
      return wkvForward(of.shape);
    case "wkv6_gradient":
    case "wkv7_gradient":
      return wkvGradient(of.shape);
    case "attention":
      return attention({ ...of.shape, numbers });
    case "attention_gradient":
      return attentionGradient({ ...of.shape, numbers });
    case "cached_attention":
      return cachedAttention(of.shape);
    case "embedding":
      return embedding(of.shape);
    case "embedding_gradient":
      return embeddingGradient(of.shape);
    default:
      return of satisfies never;
  }
}
