/** What becomes of the sums of a matrix product: pointwise work on them, and the store. */

import type { Epilogue } from "../../graph/step.ts";
import { tensorBytes } from "../../graph/tensor.ts";
import {
  loopRow,
  type Position,
  rowPointers,
  storeColumns,
  targetOf,
  type V,
} from "../loops/body.ts";
import type { MatmulShape } from "../kernel.ts";
import type { Block } from "../language/block.ts";
import { quadsOf } from "../language/lanes.ts";
import { add, constant, i32, lane, mul, offset, splat } from "../language/language.ts";
import type { ValueType } from "../language/syntax.ts";
import { loopCost, loopKey } from "../loops/loop.ts";
import { F32, type Index, type Pointer } from "../language/vectors.ts";

/** Where the rows of a product go. */
export interface ProductTarget {
  readonly shape: MatmulShape;
  readonly epilogue?: Epilogue;
  readonly args: Readonly<Record<string, Pointer>>;
}

/** Neighbouring columns of one row of a product. */
export interface RowPart {
  readonly batch: Index;
  readonly row: Index;
  readonly column: Index;
  readonly columns: number;
}

/** What tells two epilogues apart. */
export const epilogueKey = (epilogue?: Epilogue): unknown =>
  epilogue === undefined ? 0 : [loopKey(epilogue), epilogue.product];

/** Operations and bytes of a product with its epilogue, which the product itself is handed on to. */
export function productCost(
  { batch, m, n, k, weight }: MatmulShape,
  epilogue?: Epilogue,
): { flops: number; bytes: number } {
  const product = 4 * batch * m * n;
  // Its operands have the product among them.
  const after = epilogue && loopCost(epilogue);
  return {
    flops: 2 * batch * m * n * k + (after?.flops ?? 0),
    bytes: batch * (4 * m * k + tensorBytes([n, k], weight ?? "f32")) +
      (after === undefined ? product : after.bytes - product),
  };
}

/**
 * Parameters of a product's kernel: a, b, the epilogue's operands other than the product, the
 * results (`product` itself without an epilogue), scratch and the range of items.
 */
export function productParameters(epilogue?: Epilogue) {
  const others = epilogue?.loop.operands.flatMap((_, i) => i === epilogue.product ? [] : [i]) ?? [];
  const results = epilogue === undefined ? ["product"] : epilogue.outputs.map((i) => `output${i}`);
  const names = ["a", "b", ...others.map((i) => `operand${i}`), ...results];
  return {
    ...Object.fromEntries(names.map((name) => [name, "ptr" as ValueType])),
    scratch: "ptr" as const,
    begin: "i32" as const,
    end: "i32" as const,
  };
}

/** Stores columns of one row of the product, through the epilogue if there is one. */
export function storeRow(
  k: Block,
  target: ProductTarget,
  { batch, row, column, columns }: RowPart,
  sum: (vector: number) => V,
): void {
  const bytes = k.let(mul(column, i32(4)));
  for (let j = 0; k.lanes * j < columns; j++) {
    const value = k.let(sum(j));
    const left = columns - k.lanes * j;
    const part = { batch, row, bytes, first: k.lanes * j };
    if (left >= k.lanes) storeVector(k, target, part, value);
    else {
      quadsOf(k, value).forEach((four, quad) => {
        const first = part.first + 4 * quad;
        const width = Math.min(4, left - 4 * quad);
        if (width === 4) storeVector(k.withLanes(4), target, { ...part, first }, k.let(four));
        else if (width > 0) {
          storeSingles(k.withLanes(4), target, { ...part, first }, k.let(four), width);
        }
      });
    }
  }
}

/** Where in the product some columns of a row begin: bytes of a column, and columns after it. */
interface Columns {
  readonly batch: Index;
  readonly row: Index;
  readonly bytes: Index;
  readonly first: number;
}

/** The place of columns in a product without an epilogue. */
function plainPlace({ shape: { m, n }, args }: ProductTarget, part: Columns): Pointer {
  const index = add(mul(part.batch, i32(m)), part.row);
  return offset(args.product, add(mul(index, i32(4 * n)), part.bytes));
}

function storeVector(k: Block, target: ProductTarget, part: Columns, value: V): void {
  const at = part.first * F32;
  if (target.epilogue === undefined) return k.store(value, plainPlace(target, part), at);
  const bytes = k.let(add(part.bytes, i32(at)));
  emitEpilogue(k, target, target.epilogue, part.row, { bytes, width: k.lanes }, value);
}

/** Stores less than four columns, one by one. */
function storeSingles(
  k: Block,
  target: ProductTarget,
  part: Columns,
  value: V,
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    const at = (part.first + i) * F32;
    if (target.epilogue === undefined) {
      k.store(lane(value, i), plainPlace(target, part), at);
      continue;
    }
    const bytes = k.let(add(part.bytes, i32(at)));
    const one = splat(lane(value, i), k.vector);
    emitEpilogue(k, target, target.epilogue, part.row, { bytes, width: 1 }, one);
  }
}

function emitEpilogue(
  k: Block,
  { args }: ProductTarget,
  { loop, outputs, product }: Epilogue,
  row: Index,
  position: Position,
  value: V,
): void {
  const pointer = rowPointers(k, loop.rows, row);
  const pointers = loop.operands.map((o, i) =>
    i === product ? constant("ptr", 0) : pointer(args[`operand${i}`], o)
  );
  const stores = outputs.map((i) => pointer(args[`output${i}`], loop.values[i].address));
  const values = loopRow(k, loop, pointers, { operand: product, value }).at(position);
  outputs.forEach((i, at) =>
    storeColumns(k, values.value(i), position, targetOf(loop.values[i], stores[at]))
  );
}
