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
];

/** Positions before the new tokens for every sequence, time, heads, kv heads, width, capacity. */
const cached: readonly (readonly [readonly number[], number, number, number, number, number])[] = [
  [[0], 1, 1, 1, 8, 1],
  [[4], 1, 4, 2, 8, 9],
  [[0, 7], 1, 3, 1, 16, 8],
  [[3, 0, 9], 5, 2, 2, 12, 17],
  [[30], 1, 4, 1, 64, 67],
  [[0], 19, 2, 1, 32, 19],
  [[2], 3, 3, 3, 128, 6],
];

/** Attention over a whole sequence, and over a cache. */
export const attentionCases: readonly OpCase[] = [
  ...sizes.flatMap(([batch, time, heads, kvHeads, width, range]) => {
    const inputs = {
      q: real([batch, time, heads, width], -range, range),
      k: real([batch, time, kvHeads, width], -range, range),
      v: real([batch, time, kvHeads, width]),
    };
    const scale = 1 / Math.sqrt(width);
    const name = `attention [${batch}, ${time}, ${heads}/${kvHeads}, ${width}]`;
    return [
      opCase(name, inputs, ({ q, k, v }) => g.attention(q, k, v, scale)),
      opCase(
        `${name}, log-sum-exp`,
        inputs,
        ({ q, k, v }) => outputsOf(g.attention(q, k, v, scale).node),
        [],
      ),
    ];
  }),
  ...cached.map(([start, time, heads, kvHeads, width, capacity]) => {
    const batch = start.length;
    return opCase(
      `cached_attention [${batch}, ${time}, ${heads}/${kvHeads}, ${width}] after ${start}`,
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
        const result = g.cachedAttention(q, k, v, keys, values, start, scale);
        return [result.output, result.keys, result.values];
      },
      [],
    );
  }),
];
