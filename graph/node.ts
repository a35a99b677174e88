/** Making nodes, and refusing to. */

import { describe, type DType, type Op, type Shape, type Tensor } from "./tensor.ts";

/** Throws what was expected of an operation's inputs. */
export function fail(op: string, found: readonly Tensor[], expected: string): never {
  throw new Error(`graph: ${op} of ${found.map(describe).join(", ")}: expected ${expected}`);
}

/** Fails unless all are real numbers. */
export function checkReal(op: string, found: readonly Tensor[]): void {
  if (found.some((t) => t.dtype !== "f32")) fail(op, found, "f32");
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
