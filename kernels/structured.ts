/** Kernels of the operations that have one of their own, chosen by operation. */

import type { Node } from "../graph/tensor.ts";
import type { View } from "../graph/view.ts";
import type { Kernel } from "./kernel.ts";

/** The kernel of a structured node whose inputs lie as the views say. */
export function structuredKernel(node: Node, _views: readonly View[], _writes: number): Kernel {
  throw new Error(`no kernel for ${node.op.kind}`);
}
