/** Attention of one token over a part of a cache, which it grows in place (decode.ts). */

import {
  add,
  bitAnd,
  div,
  equal,
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
import { type GpuBlock, gpuKernel, type OperandTypes } from "../block.ts";
import { type GpuCachedAttentionShape, isRing } from "./cached.ts";
import { foldShares, foldSubgroups } from "../fold.ts";
import { elementAt, headRows } from "../heads.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";

/** Threads of a group, and those that share a key. */
const THREADS = 256;
const LANES = 4;
/** Keys that a group takes at a time. */
export const KEYS = THREADS / LANES;
/** Query heads that are computed at a time. */
const HEADS = 8;
/** Keys or columns that are read one after another, before the first is needed. */
const UNROLLED = 4;
/** Less than any score, and still a number. */
export const HIDDEN = -1e30;

/** A shape, and how its cache is cut: so many parts, of so many keys each. */
export interface DecodeShape extends GpuCachedAttentionShape {
  readonly parts: { readonly count: number; readonly keys: number };
}

/** Floats of what a part finds for one head: the largest score, the sum of weights, the output. */
export const foundSize = (width: number) => width + 2;

/** The row of the new key and the number of rows that are seen; the same for all threads. */
export function rowsOf(
  k: GpuBlock,
  start: Place<"i32">,
  text: Index,
  shape: GpuCachedAttentionShape,
): { row: Index; count: Index } {
  const { capacity } = shape;
  const position = k.uniform(max(k.read(start, text), i32(0)));
  const last = k.let(min(position, i32(capacity - 1)));
  const row = isRing(shape) ? k.let(rem(position, i32(capacity))) : last;
  return { row, count: k.let(add(last, i32(1))) };
}

/** The kernel of the parts. Operands: q, k, v, keys, values, start, what is found. */
export function partsCode(shape: DecodeShape) {
  const { count: parts, keys } = shape.parts;
  const { heads, kvHeads, width, capacity, scale } = shape;
  const members = heads / kvHeads;
  const operands = {
    ...{ q: "f32", k: "f32", v: "f32", keys: "+f32", values: "+f32", start: "i32" },
    ...{ found: "+f32" },
  } as const satisfies OperandTypes;
  return gpuKernel("decode_attention", THREADS, operands, (k, places) => {
    const head = k.let(div(k.group, i32(parts)));
    const part = k.let(rem(k.group, i32(parts)));
    const [b, kv] = [k.let(div(head, i32(kvHeads))), k.let(rem(head, i32(kvHeads)))];
    const { row, count } = rowsOf(k, places.start, b, shape);
    const first = k.let(mul(part, i32(keys)));
    const end = k.let(min(add(first, i32(keys)), count));
    const strides = [kvHeads * capacity * width, width, capacity * width] as const;
    const cached = ([places.keys, places.values] as const).map((place) =>
      headRows(k, place, strides, b, kv)
    );
    const fresh = [headRows(k, places.k, shape.k, b, kv), headRows(k, places.v, shape.v, b, kv)];
    const together = Math.min(members, HEADS);
    const queries = k.shared("f32", together * width);
    const scores = k.shared("f32", together * THREADS);
    const weights = k.shared("f32", together * KEYS);
    k.if(lessThan(first, end), () => {
      // The part that has the new row writes it, and reads it as it does the others.
      k.if(bitAnd(lessThan(first, add(row, i32(1))), lessThan(row, end)), () => {
        k.for(k.thread, width, THREADS, (column) => {
          cached.forEach((to, side) => {
            const value = k.read(fresh[side].place, elementAt(fresh[side], i32(0), column));
            k.write(to.place, elementAt(to, row, column), value);
          });
        });
      });
      k.barrier("operands");
      for (let member = 0; member < members; member += together) {
        const some = Math.min(together, members - member);
        const h = k.let(add(mul(kv, i32(members)), i32(member)));
        k.for(k.thread, some * width, THREADS, (element) => {
          const own = add(h, div(element, i32(width)));
          const q = headRows(k, places.q, shape.q, b, own);
          const value = k.read(q.place, elementAt(q, i32(0), rem(element, i32(width))));
          k.write(queries, element, mul(value, f32(scale * Math.LOG2E)));
        });
        k.barrier();
        const { tops, sums, out } = attend(some);
        const size = foundSize(width);
        tops.forEach((top, m) => {
          const of = add(mul(add(mul(b, i32(heads)), h), i32(parts)), part);
          const at = k.let(mul(add(of, i32(m * parts)), i32(size)));
          k.if(lessThan(k.thread, i32(width)), () => {
            k.write(places.found, add(add(at, i32(2)), k.thread), out[m]);
            k.if(equal(k.thread, i32(0)), () => {
              k.write(places.found, at, top);
              k.write(places.found, add(at, i32(1)), sums[m]);
            });
          });
        });
        k.barrier();
      }
    });

    /** What some heads find among the keys of the part; the outputs in a thread a column. */
    function attend(some: number) {
      const each = Array.from({ length: some }, (_, m) => m);
      const [key, lane] = [k.let(div(k.thread, i32(LANES))), k.let(rem(k.thread, i32(LANES)))];
      // Threads that have a column each, as often as there is room for, share the keys.
      const shares = 2 ** Math.floor(Math.log2(Math.max(1, THREADS / width)));
      const column = k.let(rem(k.thread, i32(width)));
      const share = k.let(div(k.thread, i32(width)));
      const tops = each.map(() => k.variable(f32(HIDDEN)));
      const sums = each.map(() => k.variable(f32(0)));
      const out = each.map(() => k.variable(f32(0)));
      k.for(first, end, KEYS, (from) => {
        const wanted = k.let(add(from, key));
        const inside = k.let(min(wanted, i32(capacity - 1)));
        const dots = each.map(() => k.variable(f32(0)));
        const perLane = width / LANES;
        const unrolled = perLane % UNROLLED === 0 ? UNROLLED : 1;
        k.for(lane, width, LANES * unrolled, (at) => {
          const columns = Array.from(
            { length: unrolled },
            (_, u) => k.let(add(at, i32(u * LANES))),
          );
          const parts = columns.map((c) =>
            k.read(cached[0].place, elementAt(cached[0], inside, c))
          );
          columns.forEach((c, u) =>
            dots.forEach((dot, m) => {
              k.set(dot, fma(k.read(queries, add(c, i32(m * width))), parts[u], dot));
            })
          );
        });
        const highest = each.map((m) => k.variable(tops[m]));
        const score = (dot: Float, place: Index) =>
          select(lessThan(add(from, place), end), dot, f32(HIDDEN));
        k.bySubgroups((subgroup) => {
          // The threads of a key are neighbours, of which each writes for some of the heads.
          foldSubgroups(k, subgroup, scores, { lanes: LANES, apart: 1 }, dots, (a, b) => add(a, b));
          const own = dots.map((dot) => k.variable(score(dot, key)));
          own.forEach((value, m) => {
            k.if(equal(lane, i32(m % LANES)), () => {
              k.write(weights, add(key, i32(m * KEYS)), value);
            });
          });
          // A group is several subgroups: this waits for what the others wrote.
          foldSubgroups(
            k,
            subgroup,
            scores,
            { lanes: KEYS, apart: LANES },
            own,
            (a, b) => max(a, b),
          );
          own.forEach((top, m) => k.set(highest[m], max(highest[m], top)));
        }, () => {
          dots.forEach((dot, m) => k.write(scores, add(k.thread, i32(m * THREADS)), dot));
          k.barrier();
          // A thread of the first ones adds up the dot product of a head and a key.
          k.for(k.thread, some * KEYS, THREADS, (element) => {
            const begin = k.let(mul(element, i32(LANES)));
            const four = [0, 1, 2, 3].map((i) => k.read(scores, add(begin, i32(i))));
            const dot = k.let(add(add(four[0], four[1]), add(four[2], four[3])));
            k.write(weights, element, score(dot, rem(element, i32(KEYS))));
          });
          k.barrier();
          k.for(0, KEYS, UNROLLED, (at) => {
            for (let u = 0; u < UNROLLED; u++) {
              highest.forEach((top, m) => {
                k.set(top, max(top, k.read(weights, add(at, i32(m * KEYS + u)))));
              });
            }
          });
        });
        each.forEach((m) => {
          const shrink = k.let(exp2(k.let(sub(tops[m], highest[m])), k));
          k.set(tops[m], highest[m]);
          k.set(sums[m], mul(sums[m], shrink));
          k.set(out[m], mul(out[m], shrink));
        });
        const valueOf = (at: Index) => {
          const own = k.let(min(add(from, at), i32(capacity - 1)));
          return k.read(cached[1].place, elementAt(cached[1], own, column));
        };
        k.if(lessThan(share, i32(shares)), () => {
          const unrolled = Math.min(UNROLLED, KEYS / shares);
          k.for(share, KEYS, shares * unrolled, (at) => {
            const places = Array.from(
              { length: unrolled },
              (_, u) => k.let(add(at, i32(u * shares))),
            );
            const values = places.map(valueOf);
            places.forEach((place, u) => {
              // Rows that are not seen may hold anything.
              const seen = k.let(lessThan(add(from, place), end));
              each.forEach((m) => {
                const score = k.read(weights, add(place, i32(m * KEYS)));
                const weight = k.let(
                  select(seen, exp2(k.let(sub(score, tops[m])), k), f32(0)),
                );
                k.set(sums[m], add(sums[m], weight));
                k.set(out[m], fma(weight, select(seen, values[u], f32(0)), out[m]));
              });
            });
          });
        });
        k.barrier();
      });
      const totals = (values: readonly Float[]) => foldShares(k, scores, values, width, shares);
      return { tops, sums: totals(sums), out: totals(out) };
    }
  });
}
