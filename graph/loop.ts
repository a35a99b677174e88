/**
 * The loop that a group of pointwise operations and row reductions shares: rows of columns, every
 * value either one a element ("full") or one a row ("row"), every operand a strided read.
 */

import { contiguousStrides, type Node, type Op, size, type Tensor } from "./tensor.ts";
import { commonFactors, refine, resolve, type View, wholeView } from "./view.ts";

/** Whether a value varies along the columns. */
export type Level = "full" | "row";

/** Where an element lies: r₀, r₁, … times the strides, and the column times its own. */
export interface Address {
  readonly offset: number;
  readonly strides: readonly number[];
  readonly columnStride: number;
}

/** A strided read. */
export interface LoopOperand extends Address {
  readonly tensor: Tensor;
  readonly level: Level;
}

/** Where a value comes from. */
export type Source =
  | { readonly kind: "operand"; readonly index: number }
  | { readonly kind: "value"; readonly index: number }
  | { readonly kind: "constant"; readonly value: number }
  /** The column number. */
  | { readonly kind: "column" };

/** One operation of the loop. */
export interface LoopValue {
  readonly node: Node;
  readonly op: Op;
  readonly level: Level;
  readonly sources: readonly Source[];
  /** Where it goes if it is stored. */
  readonly address: Address;
}

/** A loop without its outputs, which depend on who needs what. */
export interface Loop {
  /** Sizes of the row axes; their product is the number of rows. */
  readonly rows: readonly number[];
  readonly columns: number;
  readonly operands: readonly LoopOperand[];
  readonly values: readonly LoopValue[];
}

/** The most operands that one loop reads. */
const MAX_OPERANDS = 20;

/** Pointwise operations and reductions, which loops can hold. */
export function isPointwise(node: Node): boolean {
  return node.op.kind === "unary" || node.op.kind === "binary" || node.op.kind === "select";
}

/**
 * For a reduction over trailing axes: the number of elements that become one. Undefined for others.
 */
export function rowReduction(node: Node): number | undefined {
  if (node.op.kind !== "reduce") return undefined;
  const { shape } = node.inputs[0];
  const { axes } = node.op;
  for (let i = axes[0]; i < shape.length; i++) {
    if (shape[i] !== 1 && !axes.includes(i)) return undefined;
  }
  return axes.reduce((n, axis) => n * shape[axis], 1);
}

/** Whether a value is folded into every loop that uses it. */
export function isFree(t: Tensor): boolean {
  return t.node.op.kind === "constant" || t.node.op.kind === "iota";
}

/** Length of the columns that a node insists on, if it does. */
function columnsOf(node: Node): number | undefined {
  const reduction = rowReduction(node);
  if (reduction !== undefined) return reduction;
  for (const t of node.inputs) {
    const { base } = resolve(t);
    if (base.node.op.kind === "iota") return base.shape[base.shape.length - 1];
  }
  return undefined;
}

/** Elements that a node loops over: those of a reduction's input. */
function domain(node: Node): number {
  return size(node.op.kind === "reduce" ? node.inputs[0].shape : node.outputs[0].shape);
}

interface Read {
  readonly base: Tensor;
  readonly view: View;
  readonly level: Level;
}

/** A node's place inside a larger tensor, where it has one. */
export type Placements = ReadonlyMap<Node, View>;

/**
 * The loop over the given nodes (in topological order), or undefined where they do not share one.
 * `forced` sets the length of the columns where no reduction does.
 */
export function loopOf(
  members: readonly Node[],
  placements: Placements,
  forced?: number,
): Loop | undefined {
  let columns = forced;
  for (const node of members) {
    const wanted = columnsOf(node);
    if (wanted === undefined) continue;
    if (columns !== undefined && columns !== wanted) return undefined;
    columns = wanted;
  }
  const total = Math.max(...members.map(domain));
  if (columns !== undefined && total % columns !== 0) return undefined;
  const rowCount = columns === undefined ? undefined : total / columns;

  const inside = new Map(members.map((node, index) => [node, index]));
  const levels: Level[] = [];
  const reads: Read[][] = [];
  for (const node of members) {
    const over = domain(node);
    const readLevel: Level | undefined = over === total
      ? "full"
      : over === rowCount
      ? "row"
      : undefined;
    if (readLevel === undefined || (node.op.kind === "reduce" && readLevel !== "full")) {
      return undefined;
    }
    levels.push(node.op.kind === "reduce" ? "row" : readLevel);
    reads.push(node.inputs.map((t) => ({ ...resolve(t), level: readLevel })));
  }

  // Row-level values repeat along the columns.
  const extended = (view: View, level: Level): View =>
    level === "full" ? view : {
      shape: [...view.shape, columns!],
      strides: [...view.strides, 0],
      offset: view.offset,
    };
  const writes = members.map((node, m) =>
    extended(placements.get(node) ?? wholeView(node.outputs[0].shape), levels[m])
  );
  const views = [
    ...reads.flat().filter((read) => !isFree(read.base)).map((r) => extended(r.view, r.level)),
    ...writes,
  ];
  const dims = commonFactors([
    ...views.map(({ shape }) => shape),
    columns === undefined ? [total] : [rowCount!, columns],
  ]);
  if (dims === undefined) return undefined;
  let columnDims = 0;
  if (columns !== undefined) {
    for (let product = 1; product < columns; columnDims++) {
      product *= dims[dims.length - 1 - columnDims];
    }
  }
  const wholeStrides = contiguousStrides(dims);
  const rowStrides = wholeStrides.map((s, i) =>
    i >= dims.length - columnDims ? 0 : s / (columns ?? 1)
  );

  const operands: Walk<{ tensor: Tensor; level: Level }>[] = [];
  const keys = new Map<string, number>();
  const tensorIds = new Map<Node, number>();
  const values: Walk<Omit<LoopValue, "address">>[] = [];
  for (const [m, node] of members.entries()) {
    const sources: Source[] = [];
    for (const read of reads[m]) {
      const { base } = read;
      if (base.node.op.kind === "constant") {
        sources.push({ kind: "constant", value: base.node.op.value });
        continue;
      }
      if (base.node.op.kind === "iota") {
        if (read.level !== "full") return undefined;
        sources.push({ kind: "column" });
        continue;
      }
      const fine = refine(extended(read.view, read.level), dims);
      if (fine === undefined) return undefined;
      const producer = inside.get(base.node);
      if (producer !== undefined) {
        const expected = levels[producer] === "full" ? wholeStrides : rowStrides;
        const matches = read.view.offset === 0 &&
          fine.every((s, i) => dims[i] === 1 || s === expected[i]);
        if (!matches) return undefined;
        sources.push({ kind: "value", index: producer });
        continue;
      }
      if (!tensorIds.has(base.node)) tensorIds.set(base.node, tensorIds.size);
      const key = `${tensorIds.get(base.node)}.${base.output}@${read.view.offset}:${fine.join()}`;
      let index = keys.get(key);
      if (index === undefined) {
        index = operands.length;
        keys.set(key, index);
        const level = columns !== undefined && fine.slice(dims.length - columnDims).every((s) =>
            s === 0
          )
          ? "row"
          : "full";
        operands.push({ of: { tensor: base, level }, offset: read.view.offset, fine });
      }
      sources.push({ kind: "operand", index });
    }
    const fine = refine(writes[m], dims);
    if (fine === undefined) return undefined;
    const of = { node, op: node.op, level: levels[m], sources };
    values.push({ of, offset: writes[m].offset, fine });
  }
  if (operands.length > MAX_OPERANDS) return undefined;
  return collapse(dims, columnDims, operands, values);
}

/** Something with a stride for each fine axis. */
interface Walk<T> {
  readonly of: T;
  readonly offset: number;
  readonly fine: readonly number[];
}

/** Merges neighbouring axes that everything walks as one. */
function collapse(
  dims: readonly number[],
  columnDims: number,
  operands: readonly Walk<{ tensor: Tensor; level: Level }>[],
  values: readonly Walk<Omit<LoopValue, "address">>[],
): Loop | undefined {
  const walks = [...operands, ...values];
  const firstColumn = dims.length - columnDims;
  // The first fine axis of every merged one, and the last, whose stride it has.
  const merged: { size: number; first: number; last: number }[] = [];
  dims.forEach((n, i) => {
    const merges = i > 0 && i !== firstColumn &&
      walks.every(({ fine }) => fine[i - 1] === fine[i] * n);
    const previous = merged[merged.length - 1];
    if (merges) merged[merged.length - 1] = { ...previous, size: previous.size * n, last: i };
    else merged.push({ size: n, first: i, last: i });
  });
  const columns = merged.pop() ?? { size: 1, first: 0, last: 0 };
  // The columns of a reduction must be one axis.
  if (columnDims > 0 && columns.first !== firstColumn) return undefined;
  const address = ({ offset, fine }: Walk<unknown>): Address => ({
    offset,
    strides: merged.map(({ last }) => fine[last]),
    columnStride: fine[columns.last] ?? 0,
  });
  return {
    rows: merged.map((axis) => axis.size),
    columns: columns.size,
    operands: operands.map((walk) => {
      const at = address(walk);
      const level = at.columnStride === 0 && columns.size > 1 ? "row" : walk.of.level;
      return { ...walk.of, ...at, level };
    }),
    values: values.map((walk) => ({ ...walk.of, address: address(walk) })),
  };
}
