/** Puts a graph into the form that scheduling expects: every value that must be stored is a node. */

import { accumulateProducts } from "./accumulation.ts";
import * as g from "./build.ts";
import { decompose } from "./decomposition.ts";
import { outputsOf, rewrite, type Rule } from "./rewrite.ts";
import { simplify } from "./simplification.ts";
import { isFree, isPointwise, loopOf, rowReduction } from "./loop.ts";
import { type Node, size, type Tensor } from "./tensor.ts";
import { isWhole, resolve, type View } from "./view.ts";

/** A new node, never merged with an equal one, because it is stored in a place of its own. */
function stored(t: Tensor): Tensor {
  return g.copy(t);
}

/** Constants and column numbers are never stored. */
const storedUnlessFree = (t: Tensor) => isFree(resolve(t).base) ? t : stored(t);

const unitInner = ({ shape, strides }: View) => {
  const last = shape.length - 1;
  return shape[last] === 1 || strides[last] === 1;
};

/** Whether an operation's kernel can read an input that lies this way. */
function reads(node: Node, index: number, view: View): boolean {
  switch (node.op.kind) {
    case "matmul": {
      if (index === 2) return isWhole(view);
      const [rows, columns] = view.strides.slice(-2);
      const [m, n] = view.shape.slice(-2);
      return rows === 1 || columns === 1 || m === 1 || n === 1;
    }
    case "attention":
    case "cached_attention":
      return index < 3 ? unitInner(view) : isWhole(view);
    case "attention_gradient":
      return index < 3 || index === 5 ? unitInner(view) : isWhole(view);
    case "wkv6":
      return index < 4 ? unitInner(view) : isWhole(view);
    case "wkv6_gradient":
      return index < 4 || index === 5 ? unitInner(view) : isWhole(view);
    case "wkv7":
      return index < 6 ? unitInner(view) : isWhole(view);
    case "wkv7_gradient":
      return index < 6 || index === 7 ? unitInner(view) : isWhole(view);
    default:
      return isWhole(view);
  }
}

/** Operations with a kernel of their own. */
export function isStructured(node: Node): boolean {
  switch (node.op.kind) {
    case "matmul":
    case "attention":
    case "attention_gradient":
    case "cached_attention":
    case "wkv6":
    case "wkv6_gradient":
    case "wkv7":
    case "wkv7_gradient":
    case "embedding":
    case "embedding_gradient":
      return true;
    default:
      return false;
  }
}

/** Whether a view of column numbers does not have them along its last axis any more. */
function scatters(node: Node, [a]: readonly Tensor[]): boolean {
  if (a?.node.op.kind !== "iota") return false;
  const width = a.shape[a.shape.length - 1];
  const { shape } = node.outputs[0];
  return node.op.kind === "permute" || node.op.kind === "slice" ||
    node.op.kind === "reshape" && shape[shape.length - 1] !== width;
}

/** Whether one loop can do what a node does with its inputs as they lie. */
function walks(node: Node): boolean {
  const { op, inputs: [x] } = node;
  if (op.kind !== "reduce" || rowReduction(node) !== undefined) {
    return loopOf([node], new Map()) !== undefined;
  }
  const columns = size(x.shape.slice(op.axes[op.axes.length - 1] + 1));
  return loopOf([stored(x).node], new Map(), columns) !== undefined;
}

const storeWhatMustBe: Rule = (node, inputs) => {
  const { op, outputs } = node;
  if (scatters(node, inputs)) return outputsOf({ ...node, inputs: inputs.map(stored) });
  if (op.kind === "reshape") {
    const shaped = g.reshape(inputs[0], outputs[0].shape);
    // Where strides cannot say it, the reshape is its own base.
    return resolve(shaped).base.node === shaped.node
      ? [g.reshape(stored(inputs[0]), outputs[0].shape)]
      : [shaped];
  }
  if (isPointwise(node) || op.kind === "reduce") {
    const ready = { ...node, inputs };
    return outputsOf(walks(ready) ? ready : { ...node, inputs: inputs.map(storedUnlessFree) });
  }
  if (op.kind === "concat") return [g.concat(inputs.map(stored), op.axis)];
  if (!isStructured(node)) return undefined;
  const ready = inputs.map((t, i) => {
    const { base, view } = resolve(t);
    const { kind } = base.node.op;
    return kind !== "constant" && kind !== "iota" && reads(node, i, view) ? t : stored(t);
  });
  return g.nodes(op, ready, outputs);
};

/**
 * Decomposes, simplifies and makes every root a node that is stored whole, each its own.
 * @param accumulates whether sums of products become products that add to what is there
 */
export function prepare(roots: readonly Tensor[], accumulates: boolean): Tensor[] {
  const plain = simplify(rewrite(simplify(roots), decompose));
  const simple = accumulates ? accumulateProducts(plain) : plain;
  const shaped = rewrite(simple, storeWhatMustBe);
  const taken = new Map<Node, Set<number>>();
  return shaped.map((t) => {
    const { base, view } = resolve(t);
    const { kind } = base.node.op;
    const owned = isWhole(view) && size(view.shape) === size(base.shape) && kind !== "input" &&
      kind !== "constant" && kind !== "iota" &&
      !taken.get(base.node)?.has(base.output);
    const root = owned ? base : stored(t);
    taken.set(root.node, (taken.get(root.node) ?? new Set()).add(root.output));
    return root;
  });
}
