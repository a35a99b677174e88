/** What parts of a cache found for one token, put together (decode.ts). */

import {
  add,
  div,
  fma,
  i32,
  lessThan,
  max,
  min,
  mul,
  rem,
  select,
  sub,
} from "../../language/language.ts";
import { exp2 } from "../../language/math.ts";
import { gpuKernel } from "../block.ts";
import { type DecodeShape, foundSize, HIDDEN, rowsOf } from "./decode_parts.ts";
import { foldLanes, foldShares } from "../fold.ts";
import { contiguousHeads, elementAt, headRows } from "../heads.ts";
import { f32 } from "../language.ts";

/** Threads of a group. */
const THREADS = 256;
/** Parts of a cache at most. */
export const PARTS = 64;

/** The kernel of the whole. Operands: start, what is found, output. */
export function wholeCode(shape: DecodeShape) {
  const { count: parts, keys } = shape.parts;
  const { heads, width } = shape;
  const size = foundSize(width);
  const operands = { start: "i32", found: "f32", output: "+f32" } as const;
  return gpuKernel("decode_attention_whole", THREADS, operands, (k, places) => {
    const b = k.let(div(k.group, i32(heads)));
    const { count } = rowsOf(k, places.start, b, shape);
    const used = k.let(add(div(sub(count, i32(1)), i32(keys)), i32(1)));
    const begin = k.let(mul(k.group, i32(parts * size)));
    const weights = k.shared("f32", PARTS);
    const scratch = k.shared("f32", THREADS);
    const isUsed = k.let(lessThan(k.thread, used));
    const own = k.let(add(begin, mul(k.let(min(k.thread, i32(parts - 1))), i32(size))));
    const top = k.let(select(isUsed, k.read(places.found, own), f32(HIDDEN)));
    const [highest] = foldLanes(
      k,
      scratch,
      THREADS,
      [top],
      (x, y) => max(x, y),
    );
    const weight = k.let(select(isUsed, exp2(k.let(sub(top, highest)), k), f32(0)));
    const sum = select(isUsed, k.read(places.found, add(own, i32(1))), f32(0));
    const [total] = foldLanes(
      k,
      scratch,
      THREADS,
      [k.let(mul(weight, sum))],
      (x, y) => add(x, y),
    );
    k.if(lessThan(k.thread, i32(PARTS)), () => k.write(weights, k.thread, weight));
    k.barrier();
    const shares = 2 ** Math.floor(Math.log2(Math.max(1, THREADS / width)));
    const column = k.let(rem(k.thread, i32(width)));
    const share = k.let(div(k.thread, i32(width)));
    const out = k.variable(f32(0));
    k.if(lessThan(share, i32(shares)), () => {
      k.for(share, used, shares, (at) => {
        const from = k.let(add(begin, mul(at, i32(size))));
        const value = k.read(places.found, add(add(from, i32(2)), column));
        k.set(out, fma(k.read(weights, at), value, out));
      });
    });
    const [whole] = foldShares(k, scratch, [out], width, shares);
    k.if(lessThan(k.thread, i32(width)), () => {
      const to = headRows(
        k,
        places.output,
        contiguousHeads(1, heads, width),
        b,
        k.let(rem(k.group, i32(heads))),
      );
      k.write(places.output, elementAt(to, i32(0), k.thread), div(whole, total));
    });
  });
}
