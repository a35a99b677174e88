/** Lanes of vectors: combined, taken by fours, and put together from scalars. */

import type { Block } from "./block.ts";
import { add, half, lane, shuffle, splat } from "./language.ts";
import type { Expr, Vector } from "./syntax.ts";

/** The sum, or what `combine` makes, of each four lanes with those of the other groups of four. */
export function foldQuads(
  a: Expr<Vector>,
  k: Block,
  combine: (a: Expr<Vector>, b: Expr<Vector>) => Expr<Vector>,
): Expr<"f32x4"> {
  let folded = a;
  while (folded.type !== "f32x4") {
    const whole = k.let(folded);
    folded = combine(half(whole, 0), half(whole, 1));
  }
  return folded as Expr<"f32x4">;
}

/**
 * All lanes combined, in every lane: groups of four first, then in the order (0∘2)∘(1∘3). For two
 * vectors of four lanes the same.
 */
export function acrossLanes(
  a: Expr<Vector>,
  k: Block,
  combine: (a: Expr<Vector>, b: Expr<Vector>) => Expr<Vector>,
): Expr<Vector> {
  const x = k.let(foldQuads(a, k, combine));
  const two = k.let(combine(x, shuffle(x, x, [2, 3, 0, 1])));
  const one = combine(two, shuffle(two, two, [1, 0, 3, 2]));
  return a.type === "f32x4" ? one : splat(lane(one, 0), a.type);
}

/** Sum of the lanes in every lane. */
export const laneSum = (a: Expr<Vector>, k: Block): Expr<Vector> => acrossLanes(a, k, add);

/** The groups of four lanes of a vector. */
export function quadsOf(k: Block, value: Expr<Vector>): Expr<Vector>[] {
  if (value.type === "f32x4") return [value];
  const whole = k.let(value);
  return ([0, 1] as const).flatMap((which) => quadsOf(k, half(whole, which)));
}

/** A vector of four scalars. */
export function gather(
  parts: readonly [Expr<"f32">, Expr<"f32">, Expr<"f32">, Expr<"f32">],
): Expr<"f32x4"> {
  const [a, b, c, d] = parts.map((part) => splat(part, "f32x4"));
  return shuffle(shuffle(a, b, [0, 4, 0, 4]), shuffle(c, d, [0, 4, 0, 4]), [0, 1, 4, 5]);
}
