/** Attention of one token over cached keys and values, each of which is read once, by blocks. */

import type { Block } from "../language/block.ts";
import { laneSum } from "../language/lanes.ts";
import {
  add,
  constant,
  div,
  fma,
  i32,
  load,
  max,
  min,
  mul,
  offset,
  shuffle,
  sub,
} from "../language/language.ts";
import { exp2 } from "../language/math.ts";
import { accumulate, loadTile, storeTile } from "../products.ts";
import {
  at,
  divisor,
  eachPlace,
  F32,
  FOUR,
  type Index,
  type Pointer,
  type Rows,
  sums,
  type V,
  variable,
  zeros,
} from "../language/vectors.ts";

/** Keys of a block where one token is computed, a multiple of 4. Bytes of their scores. */
const BLOCK = 64;
const SCORES = BLOCK * F32;

/** Registers for sums and what they are made of. */
const REGISTERS = 15;

/** What a token's query heads of one key/value head read and write. */
export interface Decode {
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
export function decodeScratch(group: number, width: number) {
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

/** Attends with the query heads of one key/value head that a token has, over some keys. */
export function decode(k: Block, item: Decode): void {
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
