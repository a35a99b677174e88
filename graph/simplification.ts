/** Makes a graph smaller without changing what it computes. */

import * as g from "./build.ts";
import { outputsOf, rewrite, type Rule, sameTensor, withInputs } from "./rewrite.ts";
import { type Node, type Op, type Tensor, topologicalOrder } from "./tensor.ts";

const number = (t: Tensor): number | undefined =>
  t.node.op.kind === "constant" ? t.node.op.value : undefined;

/** Two pads along one axis whose contents are neighbours are one pad of a concatenation. */
function joinPads(a: Tensor, b: Tensor): Tensor | undefined {
  const [p, q] = [a.node, b.node];
  if (p.op.kind !== "pad" || q.op.kind !== "pad") return undefined;
  const [x, y] = [p.inputs[0], q.inputs[0]];
  const [from, to] = [p.op.before, q.op.before];
  const padded = (t: Tensor, whole: Tensor) =>
    whole.shape.flatMap((n, i) => t.shape[i] !== n ? [i] : []);
  const axes = [...new Set([...padded(x, a), ...padded(y, b)])];
  if (axes.length !== 1) return undefined;
  const [axis] = axes;
  if (from[axis] + x.shape[axis] === to[axis]) {
    return g.pad(g.concat([x, y], axis), from, a.shape);
  }
  if (to[axis] + y.shape[axis] === from[axis]) {
    return g.pad(g.concat([y, x], axis), to, a.shape);
  }
  return undefined;
}

/** A pad that is added to a sum of others joins the one that it is a neighbour of. */
function joinToSum(sum: Tensor, pad: Tensor): Tensor | undefined {
  const { op, inputs } = sum.node;
  if (op.kind !== "binary" || op.fn !== "add") return undefined;
  for (const [neighbour, other] of [inputs, inputs.toReversed()]) {
    const joined = joinPads(neighbour, pad);
    if (joined !== undefined) return g.add(joined, other);
  }
  return undefined;
}

function binary(node: Node, [a, b]: readonly Tensor[]): Tensor | undefined {
  if (node.op.kind !== "binary") return undefined;
  const [x, y] = [number(a), number(b)];
  switch (node.op.fn) {
    case "add":
      if (x === 0) return b;
      if (y === 0) return a;
      if (x !== undefined && y !== undefined) return g.constant(x + y, a.shape);
      return joinPads(a, b) ?? joinToSum(a, b) ?? joinToSum(b, a);
    case "sub":
      if (y === 0) return a;
      if (x === 0) return g.neg(b);
      return x !== undefined && y !== undefined ? g.constant(x - y, a.shape) : undefined;
    case "mul":
      if (x === 0 || y === 0) return g.constant(0, a.shape);
      if (x === 1) return b;
      if (y === 1) return a;
      if (x === -1) return g.neg(b);
      if (y === -1) return g.neg(a);
      return x !== undefined && y !== undefined ? g.constant(x * y, a.shape) : undefined;
    case "div":
      if (x === 0) return a;
      return y === undefined ? undefined : y === 1 ? a : g.mul(a, 1 / y);
    default:
      return undefined;
  }
}

const algebra: Rule = (node, inputs) => {
  const { op, outputs } = node;
  const [a] = inputs;
  const { shape } = outputs[0];
  switch (op.kind) {
    case "binary": {
      const simpler = binary(node, inputs);
      return simpler && [simpler];
    }
    case "unary":
      return op.fn === "neg"
        ? a.node.op.kind === "unary" && a.node.op.fn === "neg"
          ? [a.node.inputs[0]]
          : number(a) !== undefined
          ? [g.constant(-number(a)!, shape)]
          : undefined
        : undefined;
    case "reshape":
    case "expand":
      if (number(a) !== undefined) return [g.constant(number(a)!, shape)];
      // A view of a view of the same kind is one view.
      if (a.node.op.kind === op.kind) {
        const [inner] = a.node.inputs;
        return [op.kind === "reshape" ? g.reshape(inner, shape) : g.expand(inner, shape)];
      }
      return undefined;
    case "slice":
    case "permute":
      return number(a) !== undefined ? [g.constant(number(a)!, shape)] : undefined;
    case "concat": {
      if (inputs.every((t) => number(t) !== undefined && number(t) === number(a))) {
        return [g.constant(number(a)!, shape)];
      }
      // A concatenation within one along the same axis is one.
      const parts = inputs.flatMap((t) => {
        const { op: inner, inputs } = t.node;
        return inner.kind === "concat" && inner.axis === op.axis ? inputs : [t];
      });
      return parts.length > inputs.length ? [g.concat(parts, op.axis)] : undefined;
    }
    case "reduce": {
      if (op.fn === "sum" && number(a) !== undefined) {
        const count = op.axes.reduce((n, axis) => n * a.shape[axis], 1);
        return [g.constant(number(a)! * count, shape)];
      }
      return undefined;
    }
    default:
      return undefined;
  }
};

/** Tells operations apart; JSON alone would not tell ±Infinity, NaN and −0. */
function keyOf(op: Op): string {
  return op.kind === "constant"
    ? `constant ${Object.is(op.value, -0) ? "-0" : op.value}`
    : JSON.stringify(op);
}

/** Nodes that compute the same from the same inputs become one. */
function commonSubexpressions(): Rule {
  const ids = new Map<Node, number>();
  const seen = new Map<string, Node>();
  return (node, inputs) => {
    const sources = inputs.map((t) => `${ids.get(t.node)}.${t.output}`).join(",");
    const shapes = node.outputs.map(({ shape, dtype }) => `${dtype} ${shape.join("x")}`).join(",");
    const key = `${keyOf(node.op)}|${sources}|${shapes}`;
    let kept = seen.get(key);
    if (kept === undefined) {
      kept = withInputs(node, inputs);
      seen.set(key, kept);
      ids.set(kept, ids.size);
    }
    return outputsOf(kept);
  };
}

/**
 * A loss whose gradient is computed in the same graph takes its value from there: the gradient's
 * operation returns the losses too, and the logits are then made once.
 */
function shareLosses(roots: readonly Tensor[]): Tensor[] {
  const order = topologicalOrder(roots);
  for (const gradient of order) {
    const { kind } = gradient.op;
    if (kind !== "cross_entropy_gradient" && kind !== "kl_divergence_gradient") continue;
    const loss = order.find((other) =>
      `${other.op.kind}_gradient` === kind &&
      other.inputs.every((t, i) => sameTensor(t, gradient.inputs[i]))
    );
    // Where the gradient needs the loss itself, it cannot provide it.
    const upstream = topologicalOrder(gradient.inputs.slice(-1));
    if (loss === undefined || upstream.includes(loss)) continue;
    const [shared] = outputsOf(gradient);
    return shareLosses(rewrite(roots, (node) => node === loss ? [shared] : undefined));
  }
  return [...roots];
}

/** Shares, folds and merges until nothing changes. Roots keep their shapes. */
export function simplify(roots: readonly Tensor[]): Tensor[] {
  let current = shareLosses(rewrite(roots, commonSubexpressions()));
  for (let before = Infinity; topologicalOrder(current).length < before;) {
    before = topologicalOrder(current).length;
    current = rewrite(rewrite(current, algebra), commonSubexpressions());
  }
  return current;
}
