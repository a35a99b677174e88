/** What becomes of the sums of a matrix product: pointwise work on them, and the store. */

import type { Epilogue } from "../graph/step.ts";
import { tensorBytes } from "../graph/tensor.ts";
import { loopRow, type Position, rowPointers, storeColumns, targetOf, type V4 } from "./body.ts";
import type { MatmulShape } from "./kernel.ts";
import {
  add,
  type Block,
  constant,
  i32,
  lane,
  mul,
  offset,
  splat,
  type ValueType,
} from "./language.ts";
import { loopCost, loopKey } from "./loop.ts";
import type { Index, Pointer } from "./vectors.ts";

/** Where the rows of a product go. */
export interface ProductTarget {
  readonly shape: MatmulShape;
  readonly epilogue?: Epilogue;
  readonly args: Readonly<Record<string, Pointer>>;
}

/** Neighbouring columns of one row of a product; at most eight. */
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

/** Stores up to eight columns of one row of the product, through the epilogue if there is one. */
export function storeRow(
  k: Block,
  { shape: { m, n }, epilogue, args }: ProductTarget,
  { batch, row, column, columns }: RowPart,
  sum: (vector: number) => V4,
): void {
  const bytes = k.let(mul(column, i32(4)));
  for (let j = 0; 4 * j < columns; j++) {
    const value = k.let(sum(j));
    const width = Math.min(4, columns - 4 * j);
    if (epilogue === undefined) {
      const index = add(mul(batch, i32(m)), row);
      const to = offset(args.product, add(mul(index, i32(4 * n)), bytes));
      if (width === 4) k.store(value, to, j * 16);
      else {
        for (let l = 0; l < width; l++) k.store(lane(value, l), to, j * 16 + l * 4);
      }
      continue;
    }
    const { loop, outputs, product } = epilogue;
    const pointer = rowPointers(k, loop.rows, row);
    const pointers = loop.operands.map((o, i) =>
      i === product ? constant("ptr", 0) : pointer(args[`operand${i}`], o)
    );
    const stores = outputs.map((i) => pointer(args[`output${i}`], loop.values[i].address));
    const emit = (position: Position, given: V4) => {
      const values = loopRow(k, loop, pointers, { operand: product, value: given }).at(position);
      outputs.forEach((i, at) =>
        storeColumns(k, values.value(i), position, targetOf(loop.values[i], stores[at]))
      );
    };
    if (width === 4) emit({ bytes: k.let(add(bytes, i32(j * 16))), width: 4 }, value);
    else {
      for (let l = 0; l < width; l++) {
        const one = splat(lane(value, l));
        emit({ bytes: k.let(add(bytes, i32(j * 16 + l * 4))), width: 1 }, one);
      }
    }
  }
}
