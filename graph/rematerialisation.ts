/**
 * Rematerialisation: the backward pass computes a stretch of the forward pass again, from the
 * boundary before it, in place of keeping what lies between two boundaries.
 */

import * as g from "./build.ts";
import { gradients } from "./gradient.ts";
import { type Node, type Tensor, topologicalOrder } from "./tensor.ts";

/** The stretch of every node between two boundaries: i ends at boundary i. */
function stretches(boundaries: readonly Tensor[]): Map<Node, number> {
  const stretch = new Map<Node, number>();
  boundaries.forEach((boundary, i) => {
    for (const node of topologicalOrder([boundary])) {
      if (!stretch.has(node)) stretch.set(node, i);
    }
  });
  return stretch;
}

/** The same tensor, but not before `dependency` is there: a copy that reads one element of it. */
function after(tensor: Tensor, dependency: Tensor): Tensor {
  let element = dependency;
  dependency.shape.forEach((_, axis) => element = g.slice(element, axis, 0, 1));
  return g.after(tensor, g.reshape(element, [1]));
}

/**
 * Gradients of a scalar as `gradients` gives them, to the bit, in less memory: of the forward pass
 * only the boundaries stay, in order such as the residual stream before every layer. What comes
 * before the first and after the last is kept.
 */
export function rematerialisedGradients(
  loss: Tensor,
  wrt: readonly Tensor[],
  boundaries: readonly Tensor[],
): Tensor[] {
  const plain = gradients(loss, [...wrt, ...boundaries]);
  const forward = new Set(topologicalOrder([loss]));
  const stretch = stretches(boundaries);
  const ends = new Set(boundaries.map((t) => t.node));
  const clones = new Map<Node, Node>();
  const backward = new Map<Node, Node>();

  const inStretch = (node: Node, i: number) =>
    stretch.get(node) === i && !ends.has(node) && node.inputs.length > 0;
  const withInputs = (node: Node, inputs: readonly Tensor[]): Node => ({ ...node, inputs });
  const output = (node: Node, { output, shape, dtype }: Tensor): Tensor => ({
    node,
    output,
    shape,
    dtype,
  });
  const starts = new Map<number, Tensor>();
  /** The boundary before a stretch, once the gradient after the stretch is known. */
  const startOf = (i: number): Tensor => {
    const made = starts.get(i) ??
      after(boundaries[i - 1], rebuilt(plain[wrt.length + i]));
    starts.set(i, made);
    return made;
  };
  const cloned = (t: Tensor, i: number): Tensor => {
    if (t.node === boundaries[i - 1].node) return startOf(i);
    if (!inStretch(t.node, i)) return t;
    let clone = clones.get(t.node);
    if (clone === undefined) {
      clone = withInputs(t.node, t.node.inputs.map((input) => cloned(input, i)));
      clones.set(t.node, clone);
    }
    return output(clone, t);
  };
  const rebuilt = (t: Tensor): Tensor => {
    if (forward.has(t.node)) {
      const i = stretch.get(t.node);
      return i !== undefined && i > 0 && inStretch(t.node, i) ? cloned(t, i) : t;
    }
    let node = backward.get(t.node);
    if (node === undefined) {
      // Inputs first, without recursion: gradients of deep models are long chains.
      for (const inner of topologicalOrder([t])) {
        if (forward.has(inner) || backward.has(inner)) continue;
        backward.set(inner, withInputs(inner, inner.inputs.map(rebuilt)));
      }
      node = backward.get(t.node)!;
    }
    return output(node, t);
  };
  return plain.slice(0, wrt.length).map(rebuilt);
}
