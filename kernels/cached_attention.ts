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
import { flash, FLASH_QUERIES, flashLanes, flashScratch } from "./flash.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "./kernel.ts";
import { type Block, kernel } from "./block.ts";
import { laneSum } from "./lanes.ts";
import {
  add,
  constant,
  div,
  fma,
  i32,
  lessThan,
  load,
  max,
  min,
  mul,
  offset,
  rem,
  shuffle,
  sub,
} from "./language.ts";
import type { KernelCode, Lanes, ValueType } from "./syntax.ts";
import { exp2 } from "./math.ts";
import { accumulate, loadTile, storeTile } from "./products.ts";
import {
  at,
  divisor,
  eachPlace,
  F32,
  FOUR,
  headOperand,
  type Index,
  type Pointer,
  type Rows,
  sums,
  type V,
  variable,
  zeros,
} from "./vectors.ts";

/** Keys of a block where one token is computed, a multiple of 4. Bytes of their scores. */
const BLOCK = 64;
const SCORES = BLOCK * F32;

/** Registers for sums and what they are made of. */
const REGISTERS = 15;

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

/** What a token's query heads of one key/value head read and write. */
interface Decode {
  readonly width: number;
  readonly group: number;
  readonly scale: number;
  readonly keys: Rows;
  readonly values: Rows;
  /** Keys to read. */
  readonly count: Index;
  readonly query: (member: Index) => Pointer;
  readonly output: (member: Index) => Pointer;
  readonly scratch: Pointer;
}

/**
 * Where in scratch memory things lie, in bytes: for every query head its query, its running
 * maximum in all lanes and sum by lanes, what earlier outputs shrink by, its output, its scores.
 */
function decodeScratch(group: number, width: number) {
  const row = width * F32;
  const state = group * row;
  const outputs = state + group * 3 * FOUR;
  const scores = outputs + group * row;
  return { queries: 0, state, outputs, scores, bytes: scores + group * SCORES };
}

/** Heads that go through a block together, as few shares as possible: [first, count] of each. */
function shares(group: number, most: number): [number, number][] {
  const count = Math.ceil(group / most);
  return Array.from({ length: count }, (_, i) => {
    const [begin, end] = [i, i + 1].map((n) => Math.floor(n * group / count));
    return [begin, end - begin];
  });
}

/** Most heads of a tile with so many sums for each: the sums, the shorter side, one of the longer. */
function mostHeads(sums: number): number {
  const fits = (heads: number) => heads * sums + Math.min(heads, sums) + 1 <= REGISTERS;
  return [1, 2, 3, 4, 5, 6].findLast(fits) ?? 1;
}

function decode(k: Block, item: Decode): void {
  const { width, group, scale, keys, values, count } = item;
  const row = width * F32;
  const places = decodeScratch(group, width);
  const scratch = (bytes: number) => k.let(offset(item.scratch, bytes));
  const [queries, state] = [scratch(places.queries), scratch(places.state)];
  const [outputs, scores] = [scratch(places.outputs), scratch(places.scores)];
  const zero = constant("f32x4", 0);

  k.for(0, group, 1, (member) => {
    const [query, to] = [item.query(member), k.let(at(queries, member, row))];
    const out = k.let(at(outputs, member, row));
    const moves = [[query, FOUR], [to, FOUR], [out, FOUR]] as const;
    eachPlace(k, width / 4, 4, moves, ([from, to, out], [i, j, l]) => {
      k.store(mul(load("f32x4", from, i), constant("f32x4", scale * Math.LOG2E)), to, j);
      k.store(zero, out, l);
    });
    const own = k.let(at(state, member, 3 * FOUR));
    k.store(constant("f32x4", -Infinity), own);
    k.store(zero, own, FOUR);
  });

  k.for(0, count, BLOCK, (firstKey) => {
    const inBlock = k.let(min(sub(count, firstKey), i32(BLOCK)));
    k.for(0, inBlock, 4, (place) => {
      // Rows beyond the last repeat it.
      const rows = [0, 1, 2, 3].map((i) => {
        const key = min(add(add(firstKey, place), i32(i)), sub(count, i32(1)));
        return k.let(at(keys.first, key, row));
      });
      for (const [first, members] of shares(group, mostHeads(4))) {
        scoreFour(k, width, rows, k.let(offset(queries, first * row)), members, {
          to: k.let(offset(at(scores, place, F32), first * SCORES)),
          together: group <= 2 ? [[0, 1], [2, 3]] : [[0, 1, 2, 3]],
        });
      }
    });
    k.for(0, group, 1, (member) => {
      const own = k.let(at(scores, member, SCORES));
      const padded = k.let(div(add(inBlock, i32(3)), i32(4)));
      k.for(inBlock, mul(padded, i32(4)), 1, (key) => {
        k.store(constant("f32", -Infinity), at(own, key, F32));
      });
      weighRow(k, own, padded, k.let(at(state, member, 3 * FOUR)));
    });
    const vectors = divisor(width / 4, group === 1 ? 8 : group === 2 ? 4 : 2);
    for (const [first, members] of shares(group, mostHeads(vectors))) {
      k.for(0, width, vectors * 4, (column) => {
        const out = k.let(offset(at(outputs, column, F32), first * row));
        const totals = Array.from({ length: members }, (_, m) => {
          const shrink = k.let(load("f32x4", state, ((first + m) * 3 + 2) * FOUR));
          const own = offset(out, m * row);
          return loadTile(k, 1, vectors, own, row, (value) => mul(value, shrink))[0];
        });
        accumulate(k, totals, {
          ...{ a: k.let(offset(scores, first * SCORES)), aRow: SCORES, aStep: F32 },
          b: k.let(at(at(values.first, firstKey, row), column, F32)),
          ...{ bStep: row, count: inBlock },
        });
        storeTile(k, totals, out, row);
      });
    }
  });

  k.for(0, group, 1, (member) => {
    const sum = laneSum(load("f32x4", at(state, member, 3 * FOUR), FOUR), k);
    const factor = k.let(div(constant("f32x4", 1), sum));
    const moves = [[k.let(at(outputs, member, row)), FOUR], [item.output(member), FOUR]];
    eachPlace(k, width / 4, 8, moves as [Pointer, number][], ([from, to], [i, j]) => {
      k.store(mul(load("f32x4", from, i), factor), to, j);
    });
  });
}

/**
 * Scores of four keys with some queries, each a vector of four. `together` are the rows that are
 * read side by side: where memory is the limit no more than two, as with four the hardware does not
 * see that rows follow one another, and reads at half speed.
 */
function scoreFour(
  k: Block,
  width: number,
  rows: readonly Pointer[],
  queries: Pointer,
  members: number,
  { to, together }: { readonly to: Pointer; readonly together: readonly (readonly number[])[] },
): void {
  const dots = Array.from({ length: members }, () => zeros(k, 4));
  for (const side of together) {
    const moves = [...side.map((i) => rows[i]), queries].map((row) => [row, FOUR] as const);
    eachPlace(k, width / 4, 4, moves, (pointers, offsets) => {
      const keys = side.map((_, i) => k.let(load("f32x4", pointers[i], offsets[i])));
      dots.forEach((own, m) => {
        const [from, at] = [pointers[side.length], offsets[side.length]];
        const query = k.let(load("f32x4", from, at + m * width * F32));
        side.forEach((i, j) => k.set(own[i], fma(keys[j], query, own[i])));
      });
    });
  }
  dots.forEach(([a, b, c, d], m) => k.store(sums(k, a, b, c, d), to, m * SCORES));
}

/** A block's scores of one query become weights; so many vectors. */
function weighRow(k: Block, scores: Pointer, vectors: Index, state: Pointer): void {
  const before = k.let(load("f32x4", state));
  const lanes = variable(k, before);
  k.for(0, vectors, 1, (i) => k.set(lanes, max(lanes, load("f32x4", at(scores, i, FOUR)))));
  const half = k.let(max(lanes, shuffle(lanes, lanes, [2, 3, 0, 1])));
  const top = k.let(max(half, shuffle(half, half, [1, 0, 3, 2])));
  const shrink = k.let(exp2(k.let(sub(before, top)), k));
  const total = zeros(k, 1)[0];
  k.for(0, vectors, 1, (i) => {
    const place = k.let(at(scores, i, FOUR));
    const weight: V = k.let(exp2(k.let(sub(load("f32x4", place), top)), k));
    k.store(weight, place);
    k.set(total, add(total, weight));
  });
  k.store(top, state);
  k.store(fma(load("f32x4", state, FOUR), shrink, total), state, FOUR);
  k.store(shrink, state, 2 * FOUR);
}
