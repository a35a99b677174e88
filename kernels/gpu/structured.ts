/** GPU kernels of the operations that have one of their own, chosen by operation. */

import { type Node, size } from "../../graph/tensor.ts";
import type { View } from "../../graph/view.ts";
import { embedding, embeddingGradient } from "./embedding.ts";
import type { GpuKernel } from "./kernel.ts";

/**
 * The kernel of a structured node whose inputs lie as the views say; `writes` is the number of
 * outputs that are kept.
 */
export function structuredKernel(node: Node, _views: readonly View[], _writes: number): GpuKernel {
  switch (node.op.kind) {
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
