/** Reverse-mode differentiation, by the rules of gradient_rules.ts. */

import * as g from "./build.ts";
import { gradientRule } from "./gradient_rules.ts";
import { fail } from "./node.ts";
import {
  describe,
  isWeight,
  type Node,
  sameShape,
  size,
  type Tensor,
  topologicalOrder,
} from "./tensor.ts";

/**
 * Gradients of a scalar [1] with respect to tensors, which are usually inputs. Tensors that the
 * scalar does not depend on get zeros.
 */
export function gradients(loss: Tensor, wrt: readonly Tensor[]): Tensor[] {
  if (size(loss.shape) !== 1) throw new Error(`gradients: expected a scalar: ${describe(loss)}`);
  return vectorJacobian([{ of: loss, gradient: g.constant(1, loss.shape) }], wrt);
}

/** Σᵢ gradientᵢ·∂ofᵢ/∂wrt for every tensor of `wrt`. */
export function vectorJacobian(
  cotangents: readonly { readonly of: Tensor; readonly gradient: Tensor }[],
  wrt: readonly Tensor[],
): Tensor[] {
  const stored = wrt.filter((t) => isWeight(t.dtype));
  if (stored.length > 0) fail("gradient", stored, "f32, which takes a gradient");
  const order = topologicalOrder(cotangents.map(({ of }) => of));
  const targets = new Set(wrt.map((t) => t.node));
  const active = new Set<Node>();
  for (const node of order) {
    if (targets.has(node) || node.inputs.some((t) => active.has(t.node))) active.add(node);
  }
  const found = new Map<Node, (Tensor | undefined)[]>();
  const accumulate = (t: Tensor, gradient: Tensor) => {
    const slots = found.get(t.node) ?? new Array<Tensor | undefined>(t.node.outputs.length);
    const old = slots[t.output];
    slots[t.output] = old === undefined ? gradient : g.add(old, gradient);
    found.set(t.node, slots);
  };
  for (const { of, gradient } of cotangents) {
    if (!sameShape(of.shape, gradient.shape)) {
      throw new Error(`gradients: ${describe(of)}: found a cotangent ${describe(gradient)}`);
    }
    accumulate(of, gradient);
  }
  for (const node of order.reverse()) {
    const outputs = found.get(node);
    if (outputs === undefined || !active.has(node)) continue;
    const needs = node.inputs.map((t) => active.has(t.node));
    if (!needs.some(Boolean)) continue;
    const inputs = gradientRule(node, outputs, needs);
    inputs.forEach((gradient, i) => {
      if (gradient !== undefined && needs[i]) accumulate(node.inputs[i], gradient);
    });
  }
  return wrt.map((t) => found.get(t.node)?.[t.output] ?? g.constant(0, t.shape));
}
