/** Making nodes, and refusing to. */

import { describe, type DType, isWeight, type Op, type Shape, type Tensor } from "./tensor.ts";

/** Throws what was expected of an operation's inputs. */
export function fail(op: string, found: readonly Tensor[], expected: string): never {
  throw new Error(`graph: ${op} of ${found.map(describe).join(", ")}: expected ${expected}`);
}

/** Fails unless all are real numbers. */
export function checkReal(op: string, found: readonly Tensor[]): void {
  if (found.some((t) => t.dtype !== "f32")) fail(op, found, "f32");
}

/** Fails for weights in fewer bits than f32, which only products and embeddings read. */
export function checkNoWeight(op: string, found: readonly Tensor[]): void {
  if (found.some((t) => isWeight(t.dtype))) {
    fail(op, found, "no stored weight but as the transposed b of a matmul or an embedding's table");
  }
}

/** Fails unless a matrix of weights, [rows, columns], holds real numbers. */
export function checkWeight(op: string, found: readonly Tensor[], weight: Tensor): void {
  if (weight.dtype === "i32" || weight.shape.length !== 2) {
    fail(op, found, "weights [rows, columns] of real numbers");
  }
}

/** A node with several outputs. */
export function nodes(
  op: Op,
  inputs: readonly Tensor[],
  outputs: readonly { shape: Shape; dtype: DType }[],
): Tensor[] {
  const node = { op, inputs, outputs };
  return outputs.map(({ shape, dtype }, output) => ({ node, output, shape, dtype }));
}

/** A node with one output. */
export function node(op: Op, inputs: readonly Tensor[], shape: Shape, dtype: DType = "f32") {
  return nodes(op, inputs, [{ shape, dtype }])[0];
}
