/** From tensors that are asked for to the steps that compute them, in order. */

import { addedTo } from "./accumulation.ts";
import * as g from "./build.ts";
import { foldColumns } from "./folds.ts";
import { columnReduction, fuse, type Fusion, type Unit } from "./fusion.ts";
import { type Loop, loopOf } from "./loop.ts";
import { orderSteps } from "./order.ts";
import { prepare } from "./preparation.ts";
import { recomputations } from "./recomputation.ts";
import { type Node, size, type Tensor } from "./tensor.ts";
import { outputsOf } from "./rewrite.ts";
import type { Epilogue, MatmulWork, Schedule, Step, StoredLoop } from "./step.ts";
import { resolve, type View } from "./view.ts";

/** What scheduling may do. */
export interface ScheduleOptions {
  /** Whether pointwise work is done inside matrix products, or inside which of them. */
  readonly epilogues: boolean | ((product: Node) => boolean);
  /** Whether loops add up columns by blocks of their rows. */
  readonly folds: boolean;
  /** Whether products are added to what is there. */
  readonly accumulates: boolean;
}

/** Products of at most so many rows, as a choice of those that do pointwise work. */
export const ofFewRows = (most: number) => ({ outputs: [{ shape }] }: Node): boolean =>
  size(shape.slice(0, -1)) <= most;

function bases(node: Node): Node[] {
  return node.inputs.map((t) => resolve(t).base.node);
}

/** Pointwise nodes that someone outside their loop reads, leaving column reductions aside. */
function crossing({ units, unitOf }: Fusion, roots: readonly Tensor[]): Set<Node> {
  const stored = new Set<Node>(roots.map((t) => t.node));
  for (const unit of units) {
    if (unit.kind === "columns") continue;
    for (const node of unit.nodes) {
      for (const base of bases(node)) if (unitOf.get(base) !== unit) stored.add(base);
    }
  }
  return stored;
}

/** The members of a loop that its stored values need. */
function alive(unit: Unit, stored: ReadonlySet<Node>): Node[] {
  const live = new Set<Node>();
  for (const node of [...unit.nodes].reverse()) {
    if (!stored.has(node) && !live.has(node)) continue;
    live.add(node);
    for (const base of bases(node)) if (unit.nodes.includes(base)) live.add(base);
  }
  return unit.nodes.filter((node) => live.has(node));
}

function topological(units: readonly Unit[]): Unit[] {
  const done = new Set<Unit>();
  const order: Unit[] = [];
  const visit = (unit: Unit) => {
    if (done.has(unit)) return;
    done.add(unit);
    for (const before of unit.after) visit(before);
    order.push(unit);
  };
  units.forEach(visit);
  return order;
}

/** The outputs that a kernel writes to memory of their own. */
function writtenOutputs(node: Node, isRead: (t: Tensor) => boolean): Tensor[] {
  const outputs = outputsOf(node);
  // Chunk states are kept only for a gradient; caches are written in place.
  switch (node.op.kind) {
    case "wkv6":
    case "wkv7":
      return isRead(outputs[2]) ? outputs : outputs.slice(0, 2);
    case "cached_attention":
      return outputs.slice(0, 1);
    default:
      return outputs;
  }
}

/** `isRead` tells which outputs someone reads. */
function structuredStep(node: Node, isRead: (t: Tensor) => boolean): Step {
  const operands = node.inputs.map((t) => resolve(t));
  const views = operands.map(({ view }) => view);
  const reads = operands.map(({ base }) => base);
  const writes = writtenOutputs(node, isRead);
  if (node.op.kind !== "matmul") {
    return { work: { kind: "structured", node, views }, reads, writes };
  }
  const { transposeA, transposeB } = node.op;
  const [a, b] = views;
  const product: MatmulWork = { kind: "matmul", a, b, transposeA, transposeB };
  if (reads.length < 3) return { work: product, reads, writes };
  return { work: { ...product, epilogue: addition(node), accumulates: true }, reads, writes };
}

/** The sum of a product and what it is added to, as an epilogue. */
function addition(node: Node): Epilogue {
  const [product] = outputsOf(node);
  const columns = product.shape[1];
  const loop = loopOf([g.add(product, node.inputs[2]).node], new Map(), columns)!;
  return { loop, outputs: [0], product: loop.operands.findIndex((o) => o.tensor.node === node) };
}

const loopStep = (body: StoredLoop): Step => ({
  work: { kind: "loop", body },
  reads: body.loop.operands.map(({ tensor }) => tensor),
  writes: body.outputs.map((v) => outputsOf(body.loop.values[v].node)[0]),
});

/** Steps of all units, still unordered; only what someone reads is stored. */
function stepsOf(
  fusion: Fusion,
  roots: readonly Tensor[],
  epilogues: (product: Node) => boolean,
): Step[] {
  const { placements, unitOf } = fusion;
  const likely = crossing(fusion, roots);
  for (const node of placements.keys()) likely.add(node);
  const again = recomputations(fusion, roots, likely, epilogues);
  for (const node of again.keys()) likely.delete(node);
  const position = new Map(fusion.order.map((node, i) => [node, i]));
  /** A loop with what it had better compute itself than read. */
  const extended = (members: readonly Node[]): Loop | undefined => {
    let nodes = members;
    let loop = loopOf(members, placements);
    if (loop === undefined) return undefined;
    for (const read of new Set(members.flatMap(bases))) {
      const more = again.get(read);
      if (more === undefined || nodes.includes(read)) continue;
      const all = [...new Set([...nodes, ...more])]
        .sort((a, b) => position.get(a)! - position.get(b)!);
      const larger = loopOf(all, placements);
      if (larger !== undefined) [nodes, loop] = [all, larger];
    }
    return loop;
  };
  const stored = new Set<Node>([...roots.map((t) => t.node), ...placements.keys()]);
  const steps: Step[] = [];
  for (const unit of topological(fusion.units).reverse()) {
    const [node] = unit.nodes;
    switch (unit.kind) {
      case "concat":
        break;
      case "structured": {
        const isRead = (t: Tensor) =>
          [...roots, ...steps.flatMap((step) => step.reads)].some((r) =>
            r.node === node && r.output === t.output
          );
        const step = structuredStep(node, isRead);
        step.reads.forEach((t) => stored.add(t.node));
        steps.push(step);
        break;
      }
      case "columns": {
        const isStored = (n: Node) => likely.has(n) || stored.has(n);
        const reduction = columnReduction(node, isStored, (n) => {
          stored.add(n);
          likely.add(n);
        });
        const reads = reduction.loop.operands.map(({ tensor }) => tensor);
        reads.forEach((t) => stored.add(t.node));
        steps.push({ work: { kind: "columns", reduction }, reads, writes: outputsOf(node) });
        break;
      }
      case "loop": {
        const members = alive(unit, stored);
        if (members.length === 0) break;
        // Without its dead members a loop can lose what made its axes fit: then they stay.
        const loop = extended(members) ?? extended(unit.nodes);
        if (loop === undefined) throw new Error("schedule: a part of a loop is not a loop");
        const outputs = loop.values.flatMap(({ node }, i) =>
          stored.has(node) && unitOf.get(node) === unit ? [i] : []
        );
        const step = loopStep({ loop, outputs });
        step.reads.forEach((t) => stored.add(t.node));
        steps.push(step);
        break;
      }
      default:
        unit.kind satisfies never;
    }
  }
  return steps.reverse();
}

/**
 * Moves a loop that is the only reader of a matrix product into it, where its shape allows. Nothing
 * else can then depend on the product, so no two steps come to need each other.
 */
function fuseEpilogues(
  steps: readonly Step[],
  roots: readonly Tensor[],
  placements: ReadonlyMap<Node, View>,
  epilogues: (product: Node) => boolean,
): Step[] {
  const readers = new Map<Node, Step[]>();
  for (const step of steps) {
    for (const t of step.reads) {
      const list = readers.get(t.node) ?? [];
      if (!list.includes(step)) list.push(step);
      readers.set(t.node, list);
    }
  }
  const rootNodes = new Set(roots.map((t) => t.node));
  const gone = new Set<Step>();
  const fused = new Map<Step, Step>();
  for (const step of steps) {
    const { work } = step;
    if (work.kind !== "matmul" || work.accumulates || rootNodes.has(step.writes[0].node)) continue;
    const product = step.writes[0];
    if (!epilogues(product.node)) continue;
    const after = readers.get(product.node) ?? [];
    if (after.length !== 1 || gone.has(after[0])) continue;
    const [reader] = after;
    if (reader.work.kind !== "loop") continue;
    const [, m, n] = product.shape.length === 3 ? product.shape : [1, ...product.shape];
    if (size(product.shape) !== m * n) continue;
    const members = reader.work.body.loop.values.map((v) => v.node);
    if (members.some((node) => node.op.kind === "reduce")) continue;
    const loop = loopOf(members, placements, n);
    if (loop === undefined || loop.columns !== n || loop.rows.length > 1) continue;
    const index = loop.operands.findIndex((o) => o.tensor.node === product.node);
    const whole = loop.operands[index];
    const inOrder = whole.offset === 0 && (n === 1 || whole.columnStride === 1) &&
      (loop.rows.length === 0 || loop.rows[0] === m && (m === 1 || whole.strides[0] === n)) &&
      loop.operands.filter((o) => o.tensor.node === product.node).length === 1;
    if (!inOrder || (loop.rows[0] ?? 1) !== m) continue;
    const stored = new Set(reader.writes.map((t) => t.node));
    const outputs = loop.values.flatMap((v, i) => stored.has(v.node) ? [i] : []);
    const others = loop.operands.filter((_, i) => i !== index).map((o) => o.tensor);
    gone.add(reader);
    fused.set(step, {
      work: { ...work, epilogue: { loop, outputs, product: index } },
      reads: [...step.reads, ...others],
      writes: outputs.map((v) => outputsOf(loop.values[v].node)[0]),
    });
  }
  return steps.filter((step) => !gone.has(step)).map((step) => fused.get(step) ?? step);
}

/** Every stored node's writers; a concatenation is written by the steps of its parts. */
function writersOf(steps: readonly Step[], partOf: ReadonlyMap<Node, Node>): Map<Node, Step[]> {
  const writers = new Map<Node, Step[]>();
  for (const step of steps) {
    for (const { node } of step.writes) {
      for (const whole of [node, partOf.get(node)]) {
        if (whole !== undefined) writers.set(whole, [...writers.get(whole) ?? [], step]);
      }
    }
  }
  return writers;
}

/** Plans the steps that compute the given tensors. */
export function schedule(results: readonly Tensor[], options: ScheduleOptions): Schedule {
  const roots = prepare(results, options.accumulates);
  const fusion = fuse(roots);
  const partOf = addedTo(fusion.order);
  for (const node of fusion.order) {
    if (node.op.kind === "concat") { for (const part of node.inputs) partOf.set(part.node, node); }
  }
  const { epilogues: asked } = options;
  const epilogues = typeof asked === "boolean" ? () => asked : asked;
  let steps = stepsOf(fusion, roots, epilogues);
  steps = fuseEpilogues(steps, roots, fusion.placements, epilogues);
  if (options.folds) steps = foldColumns(steps, roots, fusion.placements);
  return { steps: orderSteps(steps, writersOf(steps, partOf), partOf), roots, partOf };
}
