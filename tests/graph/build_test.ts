import { assert, assertEquals, assertThrows } from "@std/assert";
import * as g from "../../graph/build.ts";
import type { Shape, Tensor } from "../../graph/tensor.ts";

const f32 = (...shape: Shape): Tensor => g.input("x", shape);
const i32 = (...shape: Shape): Tensor => g.input("ids", shape, "i32");

Deno.test("build: shapes follow from operands", () => {
  const cases: readonly (readonly [Tensor, Shape])[] = [
    [g.add(f32(3, 1), f32(2, 1, 4)), [2, 3, 4]],
    [g.mul(f32(3), 2), [3]],
    [g.equal(g.iota([5, 7]), i32(5, 1)), [5, 7]],
    [g.select(f32(2, 3), f32(3), 1), [2, 3]],
    [g.sum(f32(2, 3, 4), [0, -1]), [1, 3, 1]],
    [g.mean(f32(2, 3), [1]), [2, 1]],
    [g.meanAll(f32(2, 3)), [1]],
    [g.largest(f32(2, 3), [0, 1]), [1, 1]],
    [g.permute(f32(2, 3, 4), [2, 0, 1]), [4, 2, 3]],
    [g.slice(f32(2, 9), -1, 3, 5), [2, 2]],
    [g.pad(f32(2, 3), [1, 0], [4, 3]), [4, 3]],
    [g.concat([f32(2, 3), f32(2, 4)], -1), [2, 7]],
    [g.expand(f32(3, 1), [2, 3, 5]), [2, 3, 5]],
    [g.matmul(f32(2, 3), f32(3, 4)), [2, 4]],
    [g.matmul(f32(5, 3, 2), f32(5, 4, 3), { transposeA: true, transposeB: true }), [5, 2, 4]],
    [g.matmul(f32(6, 5, 3, 2), f32(3, 4), { transposeA: true }), [6, 5, 2, 4]],
    [g.linear(f32(6, 5, 3), f32(4, 3), f32(4)), [6, 5, 4]],
    [g.embedding(f32(9, 4), i32(2, 3)), [2, 3, 4]],
    [g.embeddingGradient(f32(2, 3, 4), i32(2, 3), 9), [9, 4]],
    [g.attention(f32(2, 5, 4, 8), f32(2, 5, 2, 8), f32(2, 5, 2, 8), 1), [2, 5, 4, 8]],
    [g.crossEntropy(f32(5, 3), f32(9, 3), i32(5)), [5]],
    [g.klDivergence(f32(5, 3), f32(9, 3), f32(5, 4), f32(9, 4)), [5]],
  ];
  for (const [{ shape }, expected] of cases) assertEquals(shape, expected);
});

Deno.test("build: the outputs of structured operations", () => {
  const row = f32(2, 33, 3, 8);
  const { y, state } = g.wkv7(
    { r: row, w: row, k: row, v: row, kappa: row, a: row },
    f32(2, 3, 8, 8),
  );
  assertEquals(y.node, state.node);
  assertEquals(y.node.outputs.map(({ shape }) => shape), [
    [2, 33, 3, 8],
    [2, 3, 8, 8],
    [2, 3, 3, 8, 8],
  ]);
  const four = g.wkv6({ r: row, w: row, k: row, v: row }, f32(2, 3, 8, 8));
  assertEquals(four.y.node.outputs, y.node.outputs);
  assertEquals(four.y.node, four.state.node);
  const { node } = g.attention(f32(2, 5, 4, 8), f32(2, 5, 2, 8), f32(2, 5, 2, 8), 1);
  assertEquals(node.outputs.map(({ shape }) => shape), [[2, 5, 4, 8], [2, 4, 5]]);
});

Deno.test("build: what changes nothing makes no node", () => {
  const x = f32(2, 3);
  const same = [
    g.reshape(x, [2, 3]),
    g.permute(x, [0, 1]),
    g.slice(x, 1, 0, 3),
    g.pad(x, [0, 0], [2, 3]),
    g.expand(x, [2, 3]),
    g.concat([x], 0),
    g.sum(x, []),
    g.sum(g.reshape(x, [2, 3]), []),
  ];
  for (const t of same) assert(t === x);
  const one = f32(1, 3);
  assert(g.sum(one, [0]) === one);
});

/** A mistake, and what its message must say. */
const mistakes: readonly (readonly [string, () => unknown])[] = [
  ["exp of input ids [3]: expected f32", () => g.exp(i32(3))],
  [
    "add of input x [2, 3], input x [4]: expected shapes that broadcast",
    () => g.add(f32(2, 3), f32(4)),
  ],
  ["add of input x [3], input ids [3]: expected f32", () => g.add(f32(3), i32(3))],
  ["mul of input ids [3], input ids [3]: expected f32", () => g.mul(i32(3), i32(3))],
  [
    "select of input x [3], input x [2, 3]: expected branches that",
    () => g.select(f32(3), f32(2, 3), 0),
  ],
  [
    "select of input x [3], input x [4]: expected shapes that broadcast",
    () => g.select(f32(3), f32(4), 0),
  ],
  ["select of input ids [3], constant [1]: expected f32", () => g.select(f32(3), i32(3), 0)],
  ["sum of input x [2, 3]: expected axes below 2", () => g.sum(f32(2, 3), [2])],
  ["sum of input x [2, 3]: expected axes below 2", () => g.sum(f32(2, 3), [-3])],
  ["max of input ids [3]: expected f32", () => g.largest(i32(3), [0])],
  ["expand of input x [3]: expected a shape that broadcasts to [4]", () => g.expand(f32(3), [4])],
  [
    "expand of input x [2, 3]: expected a shape that broadcasts to [3]",
    () => g.expand(f32(2, 3), [3]),
  ],
  ["reshape of input x [2, 3]: expected 7 elements", () => g.reshape(f32(2, 3), [7])],
  ["permute of input x [2, 3]: expected a permutation", () => g.permute(f32(2, 3), [0, 0])],
  ["permute of input x [2, 3]: expected a permutation", () => g.permute(f32(2, 3), [0])],
  ["permute of input x [2, 3, 4]: expected a permutation", () => g.permute(f32(2, 3, 4), [1, 0])],
  [
    "slice of input x [2, 3]: expected 0 ≤ begin < end ≤ 3, found 1, 4",
    () => g.slice(f32(2, 3), 1, 1, 4),
  ],
  [
    "slice of input x [2, 3]: expected 0 ≤ begin < end ≤ 3, found 1, 1",
    () => g.slice(f32(2, 3), 1, 1, 1),
  ],
  ["slice of input x [2, 3]: expected an axis below 2, found 2", () => g.slice(f32(2, 3), 2, 0, 1)],
  [
    "pad of input x [2, 3]: expected room in [2, 4] after [0, 2]",
    () => g.pad(f32(2, 3), [0, 2], [2, 4]),
  ],
  [
    "pad of input x [2, 3]: expected room in [2, 3] after [0, 1]",
    () => g.pad(f32(2, 3), [0, 1], [2, 3]),
  ],
  [
    "pad of input x [2, 3]: expected room in [2, 5] after [0, -1]",
    () => g.pad(f32(2, 3), [0, -1], [2, 5]),
  ],
  ["pad of input x [2, 3]: expected room in [6] after [0]", () => g.pad(f32(2, 3), [0], [6])],
  ["pad of input ids [3]: expected f32", () => g.pad(i32(3), [0], [4])],
  ["concat of : expected at least one part", () => g.concat([], 0)],
  [
    "concat of input x [2, 3], input x [3, 3]: expected one element type and shapes that agree",
    () => g.concat([f32(2, 3), f32(3, 3)], 1),
  ],
  [
    "concat of input x [2, 3], input x [2]: expected one element type and shapes that agree",
    () => g.concat([f32(2, 3), f32(2)], 0),
  ],
  [
    "concat of input x [3], input ids [3]: expected one element type",
    () => g.concat([f32(3), i32(3)], 0),
  ],
  ["concat of input x [2, 3]: expected an axis below 2, found 2", () => g.concat([f32(2, 3)], 2)],
  [
    "matmul of input x [2, 3], input x [2, 3]: expected equal inner sizes, found 3 and 2",
    () => g.matmul(f32(2, 3), f32(2, 3)),
  ],
  [
    "matmul of input x [3], input x [3, 2]: expected at least two axes each",
    () => g.matmul(f32(3), f32(3, 2)),
  ],
  [
    "matmul of input x [2, 4, 3], input x [5, 3, 4]: expected equal leading axes",
    () => g.matmul(f32(2, 4, 3), f32(5, 3, 4)),
  ],
  [
    "matmul of input x [2, 3], input x [5, 3, 4]: expected equal leading axes",
    () => g.matmul(f32(2, 3), f32(5, 3, 4)),
  ],
  [
    "matmul of input x [2, 3], input ids [3, 4]: expected f32",
    () => g.matmul(f32(2, 3), i32(3, 4)),
  ],
  [
    "rms_norm of input x [2, 3], input x [2]: expected weight [width]",
    () => g.rmsNorm(f32(2, 3), f32(2), 0),
  ],
  [
    "group_norm of input x [5, 2, 3], input x [6]: expected [heads, width]",
    () => g.groupNorm(f32(5, 2, 3), f32(2, 3), f32(6), 0),
  ],
  [
    "rotary of input x [2, 5, 3, 8], input x [1, 5, 8]: expected [batch or 1, time, width/2]",
    () => g.rotary(f32(2, 5, 3, 8), f32(1, 5, 4), f32(1, 5, 8)),
  ],
  [
    "rotary of input x [5, 3, 8], input x [1, 5, 4]: expected",
    () => g.rotary(f32(5, 3, 8), f32(1, 5, 4), f32(1, 5, 4)),
  ],
  [
    "rotary of input x [1, 5, 3, 7], input x [1, 5, 3]: expected",
    () => g.rotary(f32(1, 5, 3, 7), f32(1, 5, 3), f32(1, 5, 3)),
  ],
  [
    "embedding of input x [9, 4], input x [3]: expected a table [vocabulary, width] and i32",
    () => g.embedding(f32(9, 4), f32(3)),
  ],
  [
    "embedding_gradient of input x [2, 4], input ids [3]: expected a gradient",
    () => g.embeddingGradient(f32(2, 4), i32(3), 9),
  ],
  [
    "attention of input x [1, 5, 3, 8], input x [1, 5, 2, 8], input x [1, 5, 2, 8]: expected",
    () => g.attention(f32(1, 5, 3, 8), f32(1, 5, 2, 8), f32(1, 5, 2, 8), 1),
  ],
  [
    "attention of input x [1, 5, 2, 8], input x [1, 6, 2, 8]: expected one time",
    () => g.attention(f32(1, 5, 2, 8), f32(1, 6, 2, 8), f32(1, 6, 2, 8), 1),
  ],
  ["cached_attention of input x [1, 2, 1, 8], input x [1, 3, 1, 8]: expected one time", () => {
    const [row, cache] = [f32(1, 3, 1, 8), f32(1, 1, 9, 8)];
    g.cachedAttention(f32(1, 2, 1, 8), row, row, cache, cache, i32(1), 1);
  }],
  ["cached_attention of input x [1, 2, 1, 8], input x [1, 9, 1, 8]: expected a cache", () => {
    const [row, cache] = [f32(1, 2, 1, 8), f32(1, 9, 1, 8)];
    g.cachedAttention(row, f32(1, 2, 1, 8), row, f32(1, 1, 4, 8), cache, i32(1), 1);
  }],
  ["cached_attention of input x [1, 1, 9, 8], input x [1, 1, 8, 8]: expected caches of one", () => {
    const row = f32(1, 2, 1, 8);
    g.cachedAttention(row, row, row, f32(1, 1, 9, 8), f32(1, 1, 8, 8), i32(1), 1);
  }],
  ["cached_attention of input ids [2]: expected i32 start [1]", () => {
    const [row, cache] = [f32(1, 2, 1, 8), f32(1, 1, 9, 8)];
    g.cachedAttention(row, row, row, cache, cache, i32(2), 1);
  }],
  ["expected six tensors [batch, time, heads, width]", () => {
    const [row, other] = [f32(1, 5, 2, 8), f32(1, 5, 1, 8)];
    g.wkv7({ r: row, w: row, k: other, v: row, kappa: row, a: row }, f32(1, 2, 8, 8));
  }],
  ["expected four tensors [batch, time, heads, width]", () => {
    const [row, other] = [f32(1, 5, 2, 8), f32(1, 5, 1, 8)];
    g.wkv6({ r: row, w: row, k: other, v: row }, f32(1, 2, 8, 8));
  }],
  ["wkv6 of input x [1, 5, 2, 8], input x [1, 2, 8]: expected a state [1, 2, 8, 8]", () => {
    const row = f32(1, 5, 2, 8);
    g.wkv6({ r: row, w: row, k: row, v: row }, f32(1, 2, 8));
  }],
  ["wkv7 of input x [1, 5, 2, 8], input x [2, 8, 8]: expected a state [1, 2, 8, 8]", () => {
    const row = f32(1, 5, 2, 8);
    g.wkv7({ r: row, w: row, k: row, v: row, kappa: row, a: row }, f32(2, 8, 8));
  }],
  [
    "cross_entropy of input x [5, 3], input x [9, 4]: expected hidden [tokens, width] and head",
    () => g.crossEntropy(f32(5, 3), f32(9, 4), i32(5)),
  ],
  [
    "cross_entropy of input x [5, 3], input ids [4]: expected i32 targets [tokens]",
    () => g.crossEntropy(f32(5, 3), f32(9, 3), i32(4)),
  ],
  [
    "cross_entropy of input x [5, 3], input x [5]: expected i32 targets [tokens]",
    () => g.crossEntropy(f32(5, 3), f32(9, 3), f32(5)),
  ],
  [
    "kl_divergence of input x [5, 3], input x [9, 3], input x [5, 3], input x [8, 3]: expected one",
    () => g.klDivergence(f32(5, 3), f32(9, 3), f32(5, 3), f32(8, 3)),
  ],
];

for (const [expected, make] of mistakes) {
  Deno.test(`build: ${expected}`, () => {
    const { message } = assertThrows(make, Error, expected);
    assert(message.startsWith("graph: "), message);
  });
}
