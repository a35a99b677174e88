/** Lanes of vectors that lie in registers: one of them, or some of two vectors. */

import type { Bits } from "./encoding.ts";
import type { Register } from "./linear.ts";
import type { Output } from "./output.ts";
import { vector, withImmediate } from "./vector_instructions.ts";

/** One lane of a vector of so many bits as an f32. */
export function lane(c: Output, of: Register, width: Bits, index: number, to: Register): void {
  let from = of;
  let bits = width;
  let at = index;
  while (bits > 128) {
    const half = bits / 64;
    if (at >= half) {
      const upper = c.register("vector");
      vector(c, "upperHalf", bits, upper, from);
      from = upper;
      at -= half;
    }
    bits = bits / 2 as Bits;
  }
  if (at === 0) vector(c, "move", 128, to, from);
  else withImmediate(c, "permute", 128, at, to, from);
}

const immediateOf = (lanes: readonly number[]) =>
  lanes.reduce((bits, lane, i) => bits | (lane & 3) << 2 * i, 0);

/** Lanes of two vectors, the same in every group of four. */
export function shuffle(
  c: Output,
  x: Register,
  y: Register,
  lanes: readonly number[],
  bits: Bits,
  to: Register,
): void {
  const ofSecond = lanes.map((lane) => lane >= 4);
  const is = (...pattern: number[]) => pattern.every((lane, i) => lane === lanes[i]);
  if (x === y || ofSecond.every((second) => second === ofSecond[0])) {
    return withImmediate(c, "permute", bits, immediateOf(lanes), to, ofSecond[0] ? y : x);
  }
  if (is(0, 4, 1, 5)) return vector(c, "unpackLow", bits, to, x, y);
  if (is(2, 6, 3, 7)) return vector(c, "unpackHigh", bits, to, x, y);
  if (!ofSecond[0] && !ofSecond[1] && ofSecond[2] && ofSecond[3]) {
    return withImmediate(c, "shuffle", bits, immediateOf(lanes), to, x, y);
  }
  if (c.evex) {
    const count = bits / 32;
    const numbers = Array.from({ length: count }, (_, i) => {
      const lane = lanes[i % 4];
      return (lane >= 4 ? count : 0) + i - i % 4 + lane % 4;
    });
    const table = c.register("vector");
    vector(c, "load", bits, table, { constant: c.pool.words(numbers) });
    return c.emitLate({ op: "permute", bits }, to, [table, x, y], [x, y]);
  }
  const [left, right] = [c.register("vector"), c.register("vector")];
  withImmediate(c, "permute", bits, immediateOf(lanes), left, x);
  withImmediate(c, "permute", bits, immediateOf(lanes), right, y);
  const chosen = ofSecond.reduce((mask, second, i) => mask | (second ? 0x11 << i : 0), 0);
  withImmediate(c, "blend", bits, bits === 128 ? chosen & 15 : chosen, to, left, right);
}
