/**
 * Attention over a cache of keys and values that grows in place.
 *
 * A work item owns the cache of one key/value head: it writes the new rows, then attends with every
 * query head that reads them. Several tokens go through blocks like those of `attention`; a single
 * one reads every key and value once, with the dot products of four keys at a time. A cache of a
 * window is a ring once it is full: each token then overwrites the one that it does not see any
 * more, and tokens are taken one by one.
 */

import { type AttentionShape, checkAttention } from "./attention.ts";
import { kernel } from "../language/block.ts";
import { decode, decodeScratch } from "./decode.ts";
import { flash, FLASH_QUERIES, flashLanes, flashScratch } from "./flash.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "../kernel.ts";
import { add, div, i32, lessThan, load, max, min, mul, rem } from "../language/language.ts";
import type { KernelCode, Lanes, ValueType } from "../language/syntax.ts";
import { at, F32, headOperand, type Index, type Pointer, type Rows } from "../language/vectors.ts";

/** What a cached attention kernel is made for. */
export interface CachedAttentionShape extends AttentionShape {
  /** Rows of the caches [batch, kv heads, capacity, width]. */
  readonly capacity: number;
  /** How the output lies, contiguous where it is missing. */
  readonly output?: OperandLayout;
}

/** Fails for caches that the tokens do not fit. */
export function checkCached(
  { time, capacity, window }: Pick<CachedAttentionShape, "time" | "capacity" | "window">,
): void {
  if (window !== undefined && capacity > window) {
    throw new Error(`cached_attention: expected at most ${window} rows, found ${capacity}`);
  }
  if (time > capacity && window !== capacity) {
    throw new Error(`cached_attention: expected at most ${capacity} tokens, found ${time}`);
  }
}

/**
 * Operands q, k, v, keys, values, start (i32 [batch]) → output; keys and values are written at
 * start … start+time−1, where the capacity is the window modulo that. A start that does not leave
 * room is moved to where it does.
 */
export function cachedAttention(shape: CachedAttentionShape): Kernel {
  const { batch, time, heads, kvHeads, width, capacity, window } = shape;
  checkAttention("cached_attention", shape);
  checkCached(shape);
  const output = shape.output ?? contiguousLayout([batch, time, heads, width]);
  const group = heads / kvHeads;
  return {
    key: `cached_attention ${JSON.stringify({ ...shape, output })}`,
    code: (most) => cachedAttentionCode({ ...shape, output }, flashLanes(most, time)),
    items: batch * kvHeads,
    scratchBytes: Math.max(
      time === 1 || window === capacity ? decodeScratch(group, width).bytes : 0,
      time === 1 ? 0 : flashScratch(width),
    ),
    flops: 4 * batch * heads * time * capacity * width,
    bytes: F32 * 2 * batch * (kvHeads * capacity + time * (heads + kvHeads)) * width,
  };
}

function cachedAttentionCode(
  shape: CachedAttentionShape & { output: OperandLayout },
  lanes: Lanes,
): KernelCode {
  const { time, heads, kvHeads, width, capacity, scale, window } = shape;
  const ring = window === capacity;
  const group = heads / kvHeads;
  const parameters = {
    ...{ q: "ptr", k: "ptr", v: "ptr", keys: "ptr", values: "ptr", start: "ptr" },
    ...{ output: "ptr", scratch: "ptr", begin: "i32", end: "i32" },
  } as const satisfies Record<string, ValueType>;
  return kernel("cached_attention", parameters, (k, args) => {
    const operand = (name: "q" | "k" | "v" | "output") =>
      headOperand(`cached_attention ${name}`, args[name], shape[name]);
    const [q, key, v, output] = [operand("q"), operand("k"), operand("v"), operand("output")];
    const row = width * F32;
    k.for(args.begin, args.end, 1, (item) => {
      const [b, kv] = [k.let(div(item, i32(kvHeads))), k.let(rem(item, i32(kvHeads)))];
      const wanted = k.let(load("i32", at(args.start, b, 4)));
      const start = k.let(max(ring ? wanted : min(wanted, i32(capacity - time)), i32(0)));
      const cached = (base: Pointer): Rows => ({
        first: k.let(at(base, item, capacity * row)),
        stride: row,
      });
      const [keys, values] = [cached(args.keys), cached(args.values)];
      const firstHead = k.let(mul(kv, i32(group)));
      const sources = ([[key, keys], [v, values]] as const).map(([from, to]) =>
        [k.let(from.row(b, kv)), from.timeStride, to.first] as const
      );
      const write = (t: Index, to: Index) => {
        for (const [first, stride, rows] of sources) {
          k.copy(at(first, t, stride), at(rows, to, row), row);
        }
      };
      const oneByOne = () =>
        k.for(0, time, 1, (t) => {
          const position = k.let(add(start, t));
          write(t, ring ? k.let(rem(position, i32(capacity))) : position);
          const rowsOf = (of: typeof q) => (member: Index) =>
            k.let(at(of.row(b, k.let(add(firstHead, member))), t, of.timeStride));
          decode(k, {
            ...{ width, group, scale, keys, values, scratch: args.scratch },
            count: k.let(min(add(position, i32(1)), i32(capacity))),
            ...{ query: rowsOf(q), output: rowsOf(output) },
          });
        });
      const together = () => {
        k.for(0, time, 1, (t) => write(t, add(start, t)));
        k.for(0, group, 1, (member) => {
          const h = k.let(add(firstHead, member));
          const [queries, out] = [k.let(q.row(b, h)), k.let(output.row(b, h))];
          k.for(0, time, FLASH_QUERIES, (firstQuery) => {
            flash(k.withLanes(lanes), {
              ...{ width, scale, time, capacity, start, firstQuery, scratch: args.scratch },
              ...{ k: keys, v: values },
              q: { first: queries, stride: q.timeStride },
              output: { first: out, stride: output.timeStride },
            });
          });
        });
      };
      if (time === 1 || time > capacity) oneByOne();
      else if (!ring) together();
      // While the ring is not full, nothing is overwritten and every query sees all before it.
      else k.if(lessThan(i32(capacity - time), start), oneByOne, together);
    });
  });
}
