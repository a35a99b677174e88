/** What scheduling makes of a graph: one step a kernel. */

import type { ColumnReduction } from "./fusion.ts";
import type { Loop } from "./loop.ts";
import type { Node, Tensor } from "./tensor.ts";
import type { View } from "./view.ts";

/** A value of a loop that is added up over rows: where its elements go in the sums of a block. */
export interface Fold {
  readonly value: number;
  /** Of the row axes; 0 where they are summed over. The loop's columns are neighbours. */
  readonly strides: readonly number[];
  /** Sums of one block. */
  readonly columns: number;
}

/** A loop and which of its values are stored. */
export interface StoredLoop {
  readonly loop: Loop;
  readonly outputs: readonly number[];
  /** Sums of every block of rows, [blocks, columns] each, written after the outputs. */
  readonly folds?: readonly Fold[];
  /** Rows of a block. */
  readonly block?: number;
}

/** Pointwise work on the elements of a matrix product before they are stored. */
export interface Epilogue extends StoredLoop {
  /** The operand that stands for the product itself; every other one is read from memory. */
  readonly product: number;
}

/** A matrix product of operands that lie as the views say. */
export interface MatmulWork {
  readonly kind: "matmul";
  readonly a: View;
  readonly b: View;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly epilogue?: Epilogue;
  /** The epilogue adds the product to what is in the result's memory. */
  readonly accumulates?: boolean;
}

/** What one kernel does. */
export type Work =
  | { readonly kind: "loop"; readonly body: StoredLoop }
  | { readonly kind: "columns"; readonly reduction: ColumnReduction }
  | MatmulWork
  | { readonly kind: "structured"; readonly node: Node; readonly views: readonly View[] };

/** One kernel: what it does, and the stored tensors it reads and writes, in operand order. */
export interface Step {
  readonly work: Work;
  readonly reads: readonly Tensor[];
  readonly writes: readonly Tensor[];
}

/** Steps in order, and where the requested tensors are. */
export interface Schedule {
  readonly steps: readonly Step[];
  /** The stored tensor of every root. */
  readonly roots: readonly Tensor[];
  /** The concatenation whose memory a stored node is part of, or the sum that is added up in it. */
  readonly partOf: ReadonlyMap<Node, Node>;
}
