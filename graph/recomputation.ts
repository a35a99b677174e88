/**
 * Values that several loops need and that are cheaper to compute in each of them than to store once
 * and load again.
 */

import type { Fusion } from "./fusion.ts";
import { isFree, isPointwise } from "./loop.ts";
import { type Node, size, type Tensor } from "./tensor.ts";
import { resolve } from "./view.ts";

/** Pointwise operations that one value may take again: about what a store and a load take. */
const MOST_COST = 16;
/** What exp, a division and the like count as. */
const COSTLY = 6;
/** Tensors as large as the value that may be read in its place. */
const MOST_LARGE = 2;
/** A tensor with as small a part of another one's elements is small beside it. */
const LARGE = 4;
/** All tensors that may be read in its place. */
const MOST_LEAVES = 5;

/** What computing a value again takes: operations, and the stored values that it starts from. */
interface Recipe {
  /** In topological order, the value itself last. */
  readonly nodes: readonly Node[];
  readonly leaves: ReadonlySet<Node>;
}

function cost({ op }: Node): number {
  const costly = op.kind === "unary" && !["copy", "neg", "abs"].includes(op.fn) ||
    op.kind === "binary" && op.fn === "div";
  return costly ? COSTLY : 1;
}

const elements = (node: Node) => size(node.outputs[0].shape);

/** Stored values that are there whatever loops read: what structured operations read and make. */
function firmNodes(
  { units }: Fusion,
  roots: readonly Tensor[],
  placed: Iterable<Node>,
  epilogues: (product: Node) => boolean,
): (node: Node) => boolean {
  const firm = new Set<Node>([...roots.map((t) => t.node), ...placed]);
  const readers = new Map<Node, number>();
  for (const { kind, nodes } of units) {
    const read = new Set(nodes.flatMap((node) => node.inputs.map((t) => resolve(t).base.node)));
    for (const node of read) {
      readers.set(node, (readers.get(node) ?? 0) + 1);
      if (kind === "structured") firm.add(node);
    }
  }
  return (node) => {
    if (firm.has(node)) return true;
    // A product that one loop reads may never be stored: the loop is done inside it.
    if (node.op.kind === "matmul") return !epilogues(node) || readers.get(node)! > 1;
    return !isPointwise(node);
  };
}

/**
 * For every value that is computed again where it is read: the nodes that this takes.
 * @param crossing the nodes that loops read from one another
 * @param epilogues the products that do pointwise work themselves
 */
export function recomputations(
  fusion: Fusion,
  roots: readonly Tensor[],
  crossing: ReadonlySet<Node>,
  epilogues: (product: Node) => boolean,
): Map<Node, readonly Node[]> {
  const isFirm = firmNodes(fusion, roots, fusion.placements.keys(), epilogues);
  const recipes = new Map<Node, Recipe | undefined>();
  const found = new Map<Node, readonly Node[]>();
  const largest = new Map(
    fusion.units.map((unit) => [unit, Math.max(...unit.nodes.map(elements))] as const),
  );
  const isRow = (node: Node) => elements(node) * LARGE < largest.get(fusion.unitOf.get(node)!)!;
  for (const node of fusion.order) {
    if (!isPointwise(node)) continue;
    const recipe = recipeOf(node);
    recipes.set(node, recipe);
    if (recipe === undefined || isFirm(node) || !crossing.has(node) || isRow(node)) continue;
    const large = [...recipe.leaves].filter((leaf) => elements(leaf) * LARGE > elements(node));
    const total = recipe.nodes.reduce((sum, n) => sum + cost(n), 0);
    const pays = total <= MOST_COST && large.length <= MOST_LARGE &&
      recipe.leaves.size <= MOST_LEAVES;
    if (pays) found.set(node, recipe.nodes);
  }
  return found;

  function recipeOf(node: Node): Recipe | undefined {
    const nodes = new Set<Node>();
    const leaves = new Set<Node>();
    for (const t of node.inputs) {
      const { base } = resolve(t);
      if (isFree(base)) continue;
      const inner = base.node;
      const small = isPointwise(inner) && isRow(inner);
      if (small || isFirm(inner) || (crossing.has(inner) && !found.has(inner))) leaves.add(inner);
      else {
        const recipe = isPointwise(inner) ? recipes.get(inner) : undefined;
        if (recipe === undefined || recipe.nodes.length > MOST_COST) return undefined;
        for (const n of recipe.nodes) nodes.add(n);
        for (const leaf of recipe.leaves) leaves.add(leaf);
      }
    }
    return { nodes: [...nodes, node], leaves };
  }
}
