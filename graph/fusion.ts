/**
 * Groups the nodes of a prepared graph into units, each of which becomes one kernel: loops of
 * pointwise operations and row reductions, column reductions with the pointwise operations that
 * lead to them, and structured operations.
 */

import * as g from "./build.ts";
import { isPointwise, type Loop, loopOf, rowReduction } from "./loop.ts";
import { isStructured } from "./preparation.ts";
import { type Node, size, type Tensor, topologicalOrder } from "./tensor.ts";
import { resolve, type View, wholeView } from "./view.ts";

/** One kernel to be, or the place where the parts of a concatenation meet. */
export interface Unit {
  readonly kind: "loop" | "columns" | "structured" | "concat";
  /** In topological order. */
  nodes: Node[];
  /** What has to run before. */
  readonly after: Set<Unit>;
}

/** The most nodes that one loop holds. */
const MAX_NODES = 56;

/** Nodes, their units and who reads whom. */
export interface Fusion {
  readonly order: readonly Node[];
  readonly units: readonly Unit[];
  readonly unitOf: ReadonlyMap<Node, Unit>;
  readonly placements: ReadonlyMap<Node, View>;
}

/** Where every part of every concatenation lies inside the whole. */
function placementsOf(order: readonly Node[]): Map<Node, View> {
  const placements = new Map<Node, View>();
  for (const node of order) {
    if (node.op.kind !== "concat") continue;
    const { strides } = wholeView(node.outputs[0].shape);
    let offset = 0;
    for (const part of node.inputs) {
      placements.set(part.node, { shape: part.shape, strides, offset });
      offset += part.shape[node.op.axis] * strides[node.op.axis];
    }
  }
  return placements;
}

/** Whether `unit` needs `other`, directly or not. */
function needs(unit: Unit, other: Unit): boolean {
  const seen = new Set<Unit>([unit]);
  const stack = [unit];
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (at === other) return true;
    for (const next of at.after) {
      if (!seen.has(next)) {
        seen.add(next);
        stack.push(next);
      }
    }
  }
  return false;
}

/** Groups nodes into units so that no two units need each other. */
export function fuse(roots: readonly Tensor[]): Fusion {
  const order = topologicalOrder(roots);
  const position = new Map(order.map((node, i) => [node, i]));
  const placements = placementsOf(order);
  const unitOf = new Map<Node, Unit>();
  const units = new Set<Unit>();
  const readers = new Map<Node, Unit[]>();

  const inputUnits = (node: Node): Unit[] => {
    const found = node.inputs.map((t) => unitOf.get(resolve(t).base.node));
    return [...new Set(found.filter((unit) => unit !== undefined))];
  };
  const sorted = (nodes: Node[]) => nodes.sort((a, b) => position.get(a)! - position.get(b)!);
  const start = (kind: Unit["kind"], node: Node): Unit => {
    const unit: Unit = { kind, nodes: [node], after: new Set(inputUnits(node)) };
    units.add(unit);
    unitOf.set(node, unit);
    return unit;
  };
  const remember = (node: Node, unit: Unit) => {
    for (const t of node.inputs) {
      const { base } = resolve(t);
      const list = readers.get(base.node) ?? [];
      if (list[list.length - 1] !== unit) list.push(unit);
      readers.set(base.node, list);
    }
  };

  /** Whether a loop can take a node in without coming to need itself. */
  const takes = (unit: Unit, node: Node): boolean =>
    unit.kind === "loop" && unit.nodes.length < MAX_NODES &&
    inputUnits(node).every((other) => other === unit || !needs(other, unit)) &&
    loopOf([...unit.nodes, node], placements) !== undefined;

  /** Joins two loops where neither needs the other through a third unit. */
  const merge = (into: Unit, from: Unit): boolean => {
    if (from.kind !== "loop" || into.nodes.length + from.nodes.length > MAX_NODES) return false;
    const through = (a: Unit, b: Unit) => [...a.after].some((c) => c !== b && needs(c, b));
    if (through(into, from) || through(from, into)) return false;
    const nodes = sorted([...into.nodes, ...from.nodes]);
    if (loopOf(nodes, placements) === undefined) return false;
    into.nodes = nodes;
    for (const node of from.nodes) unitOf.set(node, into);
    for (const unit of from.after) into.after.add(unit);
    into.after.delete(into);
    into.after.delete(from);
    units.delete(from);
    for (const unit of units) if (unit.after.delete(from)) unit.after.add(into);
    for (const list of readers.values()) {
      list.forEach((unit, i) => {
        if (unit === from) list[i] = into;
      });
    }
    return true;
  };

  const place = (node: Node): void => {
    const producers = inputUnits(node).reverse();
    const siblings = node.inputs.flatMap((t) =>
      (readers.get(resolve(t).base.node) ?? []).slice(-3).reverse()
    );
    const candidates = [...new Set([...producers, ...siblings])].filter((u) => units.has(u));
    const unit = candidates.find((candidate) => takes(candidate, node));
    if (unit === undefined) {
      remember(node, start("loop", node));
      return;
    }
    const others = inputUnits(node).filter((other) => other !== unit);
    unit.nodes = sorted([...unit.nodes, node]);
    unitOf.set(node, unit);
    for (const other of others) unit.after.add(other);
    remember(node, unit);
    for (const other of others) if (units.has(other)) merge(unit, other);
  };

  for (const node of order) {
    if (node.op.kind === "concat") start("concat", node);
    else if (isStructured(node)) remember(node, start("structured", node));
    else if (isPointwise(node) || rowReduction(node) !== undefined) place(node);
    else if (node.op.kind === "reduce") start("columns", node);
  }
  return { order, units: [...units], unitOf, placements };
}

/** A column reduction: rows [outer, reduced] of the loop, of which `reduced` are folded. */
export interface ColumnReduction {
  readonly fn: "sum" | "max";
  readonly outer: number;
  readonly reduced: number;
  /** Its last value is what is folded. */
  readonly loop: Loop;
}

/** The most operands of full size that a column reduction reads to save storing its input. */
const MAX_COLUMN_READS = 4;

/**
 * The column reduction of a node. Pointwise nodes that are not stored for anyone else are computed
 * inside; `isStored` says which are, and `store` asks for one that turns out to be needed.
 */
export function columnReduction(
  node: Node,
  isStored: (node: Node) => boolean,
  store: (node: Node) => void,
): ColumnReduction {
  const { op, inputs: [x] } = node;
  if (op.kind !== "reduce") throw new Error("fusion: not a reduction");
  const first = op.axes[0];
  const last = op.axes[op.axes.length - 1];
  const columns = size(x.shape.slice(last + 1));
  const shape = { outer: size(x.shape.slice(0, first)), reduced: size(x.shape) / columns };
  const reduced = shape.reduced / shape.outer;
  const folded = g.copy(x).node;
  const total = size(x.shape);

  const inline: Node[] = [];
  const reads = new Set<Node>();
  const small = new Set<Node>();
  let costly = 0;
  const walk = (t: Tensor): void => {
    const { base } = resolve(t);
    if (base.node.op.kind === "constant" || base.node.op.kind === "iota") return;
    if (inline.includes(base.node)) return;
    const inlines = isPointwise(base.node) && !isStored(base.node) && size(base.shape) === total;
    if (!inlines) {
      (size(base.shape) * 8 > total ? reads : small).add(base.node);
      return;
    }
    if (base.node.op.kind === "unary" && !["neg", "copy"].includes(base.node.op.fn)) costly++;
    base.node.inputs.forEach(walk);
    inline.push(base.node);
  };
  walk(x);
  const whole = () => loopOf([...inline, folded], new Map(), columns);
  let loop = reads.size <= MAX_COLUMN_READS && costly <= 2 && inline.length <= 16
    ? whole()
    : undefined;
  if (loop === undefined) {
    store(resolve(x).base.node);
    loop = loopOf([folded], new Map(), columns);
  } else {
    for (const leaf of [...reads, ...small]) store(leaf);
  }
  if (loop === undefined) throw new Error("fusion: a column reduction that no loop can walk");
  return { fn: op.fn, outer: shape.outer, reduced, loop };
}
