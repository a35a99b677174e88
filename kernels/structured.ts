/** Kernels of the operations that have one of their own, chosen by operation. */

import type { Node } from "../graph/tensor.ts";
import type { View } from "../graph/view.ts";
import type { Kernel, OperandLayout } from "./kernel.ts";
import { wkv7 } from "./wkv7.ts";
import { wkv7Gradient } from "./wkv7_gradient.ts";

/** A view as a layout; its offset is already in the operand's address. */
function layout({ shape, strides }: View): OperandLayout {
  return { offset: 0, axes: shape.map((size, i) => [{ size, stride: strides[i] }]) };
}

/**
 * The kernel of a structured node whose inputs lie as the views say; `writes` is the number of
 * outputs that are kept.
 */
export function structuredKernel(node: Node, views: readonly View[], writes: number): Kernel {
  const [batch, time, heads, width] = node.inputs[0].shape;
  switch (node.op.kind) {
    case "wkv7":
    case "wkv7_gradient": {
      const [r, w, k, v, kappa, a] = views.map(layout);
      const shape = { batch, time, heads, width, inputs: { r, w, k, v, kappa, a } };
      return node.op.kind === "wkv7"
        ? wkv7({ ...shape, keepStates: writes === 3 })
        : wkv7Gradient({ ...shape, dy: layout(views[7]) });
    }
    default:
      throw new Error(`no kernel for ${node.op.kind}`);
  }
}
