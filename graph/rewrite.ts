/** Rebuilding a graph from its leaves, node by node. */

import { type Node, type Tensor, topologicalOrder } from "./tensor.ts";

/**
 * What becomes of a node whose inputs have been rebuilt: the tensors that stand for its outputs.
 * `undefined` keeps the operation as it is.
 */
export type Rule = (node: Node, inputs: readonly Tensor[]) => readonly Tensor[] | undefined;

/** The outputs of a node. */
export function outputsOf(node: Node): Tensor[] {
  return node.outputs.map(({ shape, dtype }, output) => ({ node, output, shape, dtype }));
}

/** Whether two tensors are one output of one node. */
export function sameTensor(a: Tensor, b: Tensor): boolean {
  return a.node === b.node && a.output === b.output;
}

/** A node with other inputs; the node itself where they are its own. */
export function withInputs(node: Node, inputs: readonly Tensor[]): Node {
  return inputs.every((t, i) => sameTensor(t, node.inputs[i])) ? node : { ...node, inputs };
}

/** Applies a rule to every node that the roots need, inputs first; returns the new roots. */
export function rewrite(roots: readonly Tensor[], rule: Rule): Tensor[] {
  const rebuilt = new Map<Node, readonly Tensor[]>();
  const replace = (t: Tensor): Tensor => rebuilt.get(t.node)![t.output];
  for (const node of topologicalOrder(roots)) {
    const inputs = node.inputs.map(replace);
    rebuilt.set(node, rule(node, inputs) ?? outputsOf(withInputs(node, inputs)));
  }
  return roots.map(replace);
}
