/** Vector instructions as lowering writes them. */

import type { Bits } from "./encoding.ts";
import type { Operand, Register } from "./linear.ts";
import type { VectorName } from "./opcodes.ts";
import type { Output } from "./output.ts";

/** An instruction of vectors of so many bits. */
export function vector(
  c: Output,
  name: VectorName,
  bits: Bits,
  to: Register,
  ...from: readonly Operand[]
): void {
  c.emit({ op: "vector", name, bits }, to, ...from);
}

/** An instruction with a constant of 8 bits. */
export function withImmediate(
  c: Output,
  name: VectorName,
  bits: Bits,
  immediate: number,
  to: Register,
  ...from: readonly Operand[]
): void {
  c.emit({ op: "vector", name, bits, immediate }, to, ...from);
}

/** The same 32 bits in every lane: memory where that works. */
export function word(c: Output, bits: Bits, value: number): Operand {
  const constant = c.pool.word(value);
  if (c.evex) return { constant, broadcast: true };
  const held = c.register("vector");
  vector(c, "splat", bits, held, { constant });
  return held;
}
