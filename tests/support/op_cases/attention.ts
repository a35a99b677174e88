import * as g from "../../../graph/build.ts";
import { outputsOf } from "../../../graph/rewrite.ts";
import { integers, type OpCase, opCase, real } from "../op_case.ts";

/** Batch, time, heads, key/value heads, width, range of q and k. */
const sizes: readonly (readonly [number, number, number, number, number, number])[] = [
  [1, 1, 1, 1, 8, 1],
  [2, 5, 2, 2, 8, 1],
  [1, 16, 2, 1, 16, 1],
  [3, 17, 3, 1, 8, 2],
  [1, 33, 4, 1, 32, 1],
  [2, 19, 6, 3, 12, 1],
  [1, 70, 3, 3, 64, 1],
  [1, 7, 1, 1, 128, 1],
  [1, 65, 2, 1, 8, 6],
  [1, 130, 1, 1, 10, 1],
  [3, 40, 4, 2, 16, 1],
  // Of which the threads of a GPU's group have one and a half pieces each, or two and a half.
  [1, 40, 2, 1, 42, 1],
  [1, 40, 1, 1, 80, 1],
];

/** The same with a window at the end, of all sizes between tiles and blocks. */
const windows: readonly (readonly [...typeof sizes[number], number])[] = [
  [1, 7, 1, 1, 8, 1, 2],
  [2, 19, 4, 2, 12, 1, 5],
  [1, 40, 2, 1, 16, 2, 8],
  [1, 130, 2, 1, 8, 6, 33],
  [1, 110, 1, 1, 64, 1, 96],
  [1, 20, 1, 1, 8, 1, 20],
];

/** Positions before the new tokens for every sequence, time, heads, kv heads, width, capacity. */
type Cached = readonly [readonly number[], number, number, number, number, number];
const cached: readonly Cached[] = [
  [[0], 1, 1, 1, 8, 1],
  [[4], 1, 4, 2, 8, 9],
  [[0, 7], 1, 3, 1, 16, 8],
  [[3, 0, 9], 5, 2, 2, 12, 17],
  [[30], 1, 4, 1, 64, 67],
  [[0], 19, 2, 1, 32, 19],
  [[2], 3, 3, 3, 128, 6],
  [[1], 19, 1, 1, 48, 30],
];

/** One token over caches in parts, one of several stretches, and more heads than one thread sums. */
const decoded: readonly Cached[] = [
  [[130, 0, 63], 1, 6, 2, 64, 200],
  [[4200, 130], 1, 2, 1, 8, 4500],
  [[70], 1, 11, 1, 12, 80],
  [[65], 1, 2, 2, 128, 66],
];

/** The same with a window at the end: rings, full and not, and caches that are less. */
const rings: readonly (readonly [...Cached, number])[] = [
  [[4, 0, 5], 1, 4, 2, 8, 5, 5],
  [[1000], 1, 3, 1, 16, 70, 70],
  [[0], 9, 2, 1, 8, 4, 4],
  [[0, 3, 30], 5, 2, 2, 12, 8, 8],
  [[2], 3, 2, 1, 8, 6, 9],
];

/** Attention over a whole sequence, and over a cache. */
export const attentionCases: readonly OpCase[] = [
  ...[...sizes, ...windows].flatMap(([batch, time, heads, kvHeads, width, range, window]) => {
    const inputs = {
      q: real([batch, time, heads, width], -range, range),
      k: real([batch, time, kvHeads, width], -range, range),
      v: real([batch, time, kvHeads, width]),
    };
    const scale = 1 / Math.sqrt(width);
    const limit = window === undefined ? "" : `, window ${window}`;
    const name = `attention [${batch}, ${time}, ${heads}/${kvHeads}, ${width}]${limit}`;
    return [
      opCase(name, inputs, ({ q, k, v }) => g.attention(q, k, v, scale, window)),
      opCase(
        `${name}, log-sum-exp`,
        inputs,
        ({ q, k, v }) => outputsOf(g.attention(q, k, v, scale, window).node),
        [],
      ),
    ];
  }),
  ...[...cached, ...decoded, ...rings].map(
    ([start, time, heads, kvHeads, width, capacity, window]) => {
      const batch = start.length;
      const limit = window === undefined ? "" : `, window ${window}`;
      return opCase(
        `cached_attention [${batch}, ${time}, ${heads}/${kvHeads}, ${width}] after ${start}${limit}`,
        {
          q: real([batch, time, heads, width]),
          k: real([batch, time, kvHeads, width]),
          v: real([batch, time, kvHeads, width]),
          keys: real([batch, kvHeads, capacity, width]),
          values: real([batch, kvHeads, capacity, width]),
          start: integers(start),
        },
        ({ q, k, v, keys, values, start }) => {
          const scale = 1 / Math.sqrt(width);
          const result = g.cachedAttention(q, k, v, keys, values, start, scale, window);
          return [result.output, result.keys, result.values];
        },
        [],
      );
    },
  ),
];
