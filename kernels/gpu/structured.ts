/** GPU kernels of the operations that have one of their own, chosen by operation. */

import { type Node, size } from "../../graph/tensor.ts";
import type { View } from "../../graph/view.ts";
import { attention } from "./attention.ts";
import { embedding, embeddingGradient } from "./embedding.ts";
import { headStrides } from "./heads.ts";
import type { GpuKernel } from "./kernel.ts";

/**
 * The kernel of a structured node whose inputs lie as the views say; `writes` is the number of
 * outputs that are kept.
 */
export function structuredKernel(node: Node, views: readonly View[], _writes: number): GpuKernel {
  const [batch, time, heads, width] = node.inputs[0].shape;
  switch (node.op.kind) {
    case "attention": {
      const [q, k, v] = views.map(headStrides);
      const { scale, window } = node.op;
      const limit = window === undefined ? {} : { window };
      const kvHeads = node.inputs[1].shape[2];
      const shape = { batch, time, heads, kvHeads, width, scale, ...limit, q, k, v };
      return attention(shape);
    }
    case "embedding": {
      const [vocabulary, columns] = node.inputs[0].shape;
      return embedding({ vocabulary, width: columns, tokens: size(node.inputs[1].shape) });
    }
    case "embedding_gradient": {
      const [vocabulary, columns] = node.outputs[0].shape;
      return embeddingGradient({ vocabulary, width: columns, tokens: size(node.inputs[1].shape) });
    }
    default:
      throw new Error(`gpu: no kernel for ${node.op.kind}`);
  }
}
