/**
 * Column sums inside loops: a loop that has the elements of a column reduction at hand adds them up
 * by blocks of its rows, and only the blocks' sums are reduced afterwards.
 */

import * as g from "./build.ts";
import { type Loop, loopOf } from "./loop.ts";
import type { Fold, Step, StoredLoop } from "./step.ts";
import { type Node, size, type Tensor } from "./tensor.ts";
import { outputsOf } from "./rewrite.ts";
import type { View } from "./view.ts";

/** Blocks into which the rows of a loop are cut: enough that threads share them evenly. */
const BLOCKS = 64;
/** The fewest rows of a block: beside so many rows their sums take next to no memory. */
const LEAST_ROWS = 32;

/** A tensor with as small a part of another one's elements is small beside it. */
const LARGE = 4;

/** Rows of a block, which divide all; undefined where they are too few. */
function blockOf(rows: number): number | undefined {
  for (let block = Math.max(LEAST_ROWS, Math.ceil(rows / BLOCKS)); 2 * block <= rows; block++) {
    if (rows % block === 0) return block;
  }
  return undefined;
}

/** Where the elements of a folded value go in the sums of a block, [columns]. */
function foldOf(loop: Loop, value: number, columns: number): Fold | undefined {
  const { strides, columnStride } = loop.values[value].address;
  const fits = (stride: number, n: number) => n === 1 || stride * n <= columns;
  if (columnStride !== 1 || !fits(columnStride, loop.columns)) return undefined;
  const kept: number[] = [];
  for (const [axis, stride] of strides.entries()) {
    if (stride % columns === 0) kept.push(0);
    else if (fits(stride, loop.rows[axis])) kept.push(stride);
    else return undefined;
  }
  return { value, strides: kept, columns };
}

type LoopStep = Step & { readonly work: { readonly kind: "loop" } };
type ColumnStep = Step & { readonly work: { readonly kind: "columns" } };

const isLoop = (step: Step): step is LoopStep => step.work.kind === "loop";
const isSum = (step: Step): step is ColumnStep =>
  step.work.kind === "columns" && step.work.reduction.fn === "sum" &&
  step.work.reduction.outer === 1;

const folded = ({ work: { reduction: { loop } } }: ColumnStep): Node =>
  loop.values[loop.values.length - 1].node;

/** A loop with a column sum in it, or undefined where the two do not walk the same elements. */
function withFold(
  { body: { loop, outputs, folds = [] } }: LoopStep["work"],
  sum: ColumnStep,
  placements: ReadonlyMap<Node, View>,
): StoredLoop | undefined {
  const added = sum.work.reduction.loop;
  const own = loop.values.map(({ node }) => node);
  const nodes = [...own, ...added.values.map(({ node }) => node).filter((n) => !own.includes(n))];
  const reduces = own.some(({ op }) => op.kind === "reduce");
  const whole = loopOf(nodes, placements, reduces ? undefined : added.columns);
  // What the loop reads from memory must not be what the sum would compute after it.
  const ordered = whole?.values.every(({ sources }, i) =>
    sources.every((source) => source.kind !== "value" || source.index < i)
  );
  if (whole === undefined || !ordered) return undefined;
  const block = blockOf(whole.rows.reduce((n, m) => n * m, 1));
  if (block === undefined) return undefined;
  const index = new Map(whole.values.map(({ node }, i) => [node, i]));
  const wanted = [
    ...folds.map((fold) => ({ node: loop.values[fold.value].node, columns: fold.columns })),
    { node: folded(sum), columns: added.columns },
  ];
  // The axes may have changed, so the earlier sums are placed again too.
  const placed = wanted.map(({ node, columns }) => foldOf(whole, index.get(node)!, columns));
  if (!placed.every((fold) => fold !== undefined)) return undefined;
  return {
    loop: whole,
    outputs: outputs.map((i) => index.get(loop.values[i].node)!),
    folds: placed,
    block,
  };
}

/** A tensor of the sums of every block, which nothing but its identity tells from others. */
function blockSums(sum: ColumnStep, blocks: number): Tensor {
  const [total] = sum.writes;
  const { columns } = sum.work.reduction.loop;
  const [x] = folded(sum).inputs;
  const node: Node = {
    op: total.node.op,
    inputs: [x],
    outputs: [{ shape: [blocks, columns], dtype: "f32" }],
  };
  return outputsOf(node)[0];
}

/** The sum of the blocks' sums. */
function totalOf(sum: ColumnStep, partial: Tensor): Step {
  const { columns } = sum.work.reduction.loop;
  const loop = loopOf([g.copy(partial).node], new Map(), columns)!;
  const reduction = { ...sum.work.reduction, reduced: partial.shape[0], loop };
  return { work: { kind: "columns", reduction }, reads: [partial], writes: sum.writes };
}

/** Loops with sums without what is stored for nobody any more. */
function withoutUnread(
  steps: readonly Step[],
  roots: readonly Tensor[],
  placements: ReadonlyMap<Node, View>,
): Step[] {
  const wanted = new Set([...roots, ...steps.flatMap((step) => step.reads)].map((t) => t.node));
  return steps.map((step) => {
    if (!isLoop(step) || step.work.body.folds === undefined) return step;
    const { body } = step.work;
    const keeps = ({ node }: Tensor) => wanted.has(node) || placements.has(node);
    const outputs = body.outputs.filter((_, i) => keeps(step.writes[i]));
    return {
      ...step,
      work: { kind: "loop", body: { ...body, outputs } },
      writes: step.writes.filter(keeps),
    };
  });
}

/** Loops that could take a sum in, those that have most of what it reads first. */
function candidatesOf(sum: ColumnStep, steps: readonly Step[]): LoopStep[] {
  const position = new Map(steps.flatMap((s, i) => s.writes.map((t) => [t.node, i] as const)));
  const written = (node: Node): number =>
    node.op.kind === "concat"
      ? Math.max(...node.inputs.map((part) => written(part.node)))
      : position.get(node) ?? -1;
  const reads = [...new Set(sum.reads.map((t) => t.node))];
  const elements = (node: Node) => size(node.outputs[0].shape);
  const total = Math.max(...reads.map(elements));
  const large = reads.filter((node) => elements(node) * LARGE > total);
  const wanted = steps.findIndex((s) => s.reads.some((t) => t.node === sum.writes[0].node));
  return steps.slice(0, wanted < 0 ? steps.length : wanted).flatMap((step, i) => {
    if (!isLoop(step)) return [];
    const has = new Set([...step.reads, ...step.writes].map((t) => t.node));
    const shared = large.filter((node) => has.has(node)).length;
    // What it would read in addition must be there before.
    const ready = reads.every((node) => has.has(node) || written(node) < i);
    return shared > 0 && ready ? [{ step, shared }] : [];
  }).sort((a, b) => b.shared - a.shared).map(({ step }) => step);
}

/** A loop that does nothing yet, over what a sum reads. */
const loopFor = (sum: ColumnStep): LoopStep => ({
  work: { kind: "loop", body: { loop: sum.work.reduction.loop, outputs: [] } },
  reads: sum.reads,
  writes: [],
});

/**
 * Moves sums of columns into the loops that make or read what is summed, or into loops of their own;
 * what was stored only to be summed is stored no more. Steps stay in order.
 */
export function foldColumns(
  steps: readonly Step[],
  roots: readonly Tensor[],
  placements: ReadonlyMap<Node, View>,
): Step[] {
  const result = [...steps];
  for (const sum of steps.filter(isSum)) {
    for (const step of [...candidatesOf(sum, result), loopFor(sum)]) {
      const body = withFold(step.work, sum, placements);
      if (body === undefined) continue;
      const partial = blockSums(sum, body.loop.rows.reduce((n, m) => n * m, 1) / body.block!);
      const folding: Step = {
        work: { kind: "loop", body },
        reads: body.loop.operands.map(({ tensor }) => tensor),
        writes: [...step.writes, partial],
      };
      const [at, place] = [result.indexOf(sum), result.indexOf(step)];
      const total = totalOf(sum, partial);
      if (place < 0) result.splice(at, 1, folding, total);
      else {
        result[place] = folding;
        result.splice(at, 1);
        result.splice(Math.max(at, place), 0, total);
      }
      break;
    }
  }
  return withoutUnread(result, roots, placements);
}
