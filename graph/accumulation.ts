/**
 * Sums of products as products that add to what is there: C ← A·B + C in C's own memory, in place of
 * a product beside every other one and a pass that adds them up.
 */

import * as g from "./build.ts";
import { rewrite, sameTensor } from "./rewrite.ts";
import { type Node, type Tensor, topologicalOrder } from "./tensor.ts";

/** What a tensor is, whatever its shape. */
function withoutReshapes(t: Tensor): Tensor {
  let inner = t;
  while (inner.node.op.kind === "reshape") [inner] = inner.node.inputs;
  return inner;
}

/** Of at least two columns, along which the sum is walked. */
const isProduct = ({ node, shape }: Tensor) =>
  node.op.kind === "matmul" && shape.length === 2 && shape[1] > 1;

/** Times that every node's outputs are read. */
function readings(roots: readonly Tensor[]): Map<Node, number> {
  const count = new Map<Node, number>();
  const read = ({ node }: Tensor) => count.set(node, (count.get(node) ?? 0) + 1);
  roots.forEach(read);
  for (const node of topologicalOrder(roots)) node.inputs.forEach(read);
  return count;
}

/**
 * Makes of every sum of a product that nobody else reads, and another such product or (where the sum
 * is a root) an input, a product with a third input that it is added to. In the memory of an input
 * only a device that is told to put the root there adds.
 */
export function accumulateProducts(roots: readonly Tensor[]): Tensor[] {
  const count = readings(roots);
  const readOnce = (t: Tensor): boolean =>
    count.get(t.node) === 1 && (t.node.op.kind !== "reshape" || readOnce(t.node.inputs[0]));
  const isRoot = (node: Node) => roots.some((t) => withoutReshapes(t).node === node);
  return rewrite(roots, (node, inputs) => {
    if (node.op.kind !== "binary" || node.op.fn !== "add") return undefined;
    const once = node.inputs.map(readOnce);
    const bases = inputs.map(withoutReshapes);
    if (sameTensor(bases[0], bases[1])) return undefined;
    for (const [product, other] of [[1, 0], [0, 1]]) {
      const [base, addend] = [bases[product], bases[other]];
      if (!once[product] || !isProduct(base) || base.node.inputs.length > 2) continue;
      const adds = isProduct(addend) && once[other] ||
        addend.node.op.kind === "input" && isRoot(node);
      if (!adds) continue;
      const [a, b] = base.node.inputs;
      const sum = g.node(base.node.op, [a, b, g.reshape(addend, base.shape)], base.shape);
      return [g.reshape(sum, node.outputs[0].shape)];
    }
    return undefined;
  });
}

/** Where products are added to what is there: the addend's node and the sum's, whose memory it has. */
export function addedTo(order: readonly Node[]): Map<Node, Node> {
  const sums = new Map<Node, Node>();
  for (const node of [...order].reverse()) {
    if (node.op.kind !== "matmul" || node.inputs.length < 3) continue;
    const addend = withoutReshapes(node.inputs[2]).node;
    if (addend.op.kind !== "input") sums.set(addend, sums.get(node) ?? node);
  }
  return sums;
}
