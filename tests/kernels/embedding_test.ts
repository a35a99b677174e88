import { assertEquals } from "@std/assert";
import { embedding, embeddingGradient } from "../../kernels/embedding.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import * as reference from "../../kernels/reference/matmul.ts";
import { random } from "../support/random.ts";
import { arena, compile, kernelTest } from "../support/kernels.ts";

const SHAPES = [
  { vocabulary: 1, width: 4, tokens: 1 },
  { vocabulary: 7, width: 12, tokens: 30 },
  { vocabulary: 64, width: 3, tokens: 5 },
  { vocabulary: 201, width: 64, tokens: 150 },
  { vocabulary: 130, width: 33, tokens: 9 },
];

function run(
  kernel: Kernel,
  reals: Float32Array,
  ids: readonly number[],
  size: number,
  itemsAtOnce = kernel.items,
): Float32Array {
  const memory = arena(1 << 20);
  const operands = [memory.place(reals), memory.place(ids, "i32"), memory.room(size)];
  const runner = compile(kernel, memory);
  for (let begin = 0; begin < kernel.items; begin += itemsAtOnce) {
    runner(operands, begin, Math.min(begin + itemsAtOnce, kernel.items));
  }
  // What lies around the output is as it was.
  assertEquals(memory.read(operands[2] - 16, 4), new Float32Array(4).fill(NaN));
  assertEquals(memory.read(operands[2] + 4 * size, 4), new Float32Array(4).fill(NaN));
  return memory.read(operands[2], size);
}

for (const shape of SHAPES) {
  const { vocabulary, width, tokens } = shape;
  const source = random(vocabulary + width);
  // Whole numbers, whose sums are exact in any order.
  const numbers = (count: number) => new Float32Array(count).map(() => source.below(2000) - 1000);
  const ids = Array.from({ length: tokens }, () => source.below(vocabulary));
  const name = `${tokens} of ${vocabulary} rows of ${width}`;

  kernelTest(`embedding of ${name}`, () => {
    const table = numbers(vocabulary * width);
    const expected = reference.embedding(
      { shape: [vocabulary, width], data: Float64Array.from(table) },
      { shape: [tokens], data: Float64Array.from(ids) },
    );
    const found = run(embedding(shape), table, ids, tokens * width);
    assertEquals(found, Float32Array.from(expected));
    assertEquals(run(embedding(shape), table, ids, tokens * width, 2), found);
  });

  kernelTest(`embedding gradient of ${name}`, () => {
    const gradient = numbers(tokens * width);
    const expected = reference.embeddingGradient(
      { shape: [tokens, width], data: Float64Array.from(gradient) },
      { shape: [tokens], data: Float64Array.from(ids) },
      [vocabulary, width],
    );
    const size = vocabulary * width;
    const found = run(embeddingGradient(shape), gradient, ids, size);
    assertEquals(found, Float32Array.from(expected));
    for (const itemsAtOnce of [1, 3, 32]) {
      assertEquals(run(embeddingGradient(shape), gradient, ids, size, itemsAtOnce), found);
    }
  });
}

kernelTest("embedding gradient sums a row's tokens in their order", () => {
  const shape = { vocabulary: 3, width: 4, tokens: 3 };
  // (1e8 + 1) − 1e8 is 0 in f32, (1e8 − 1e8) + 1 is 1.
  const gradient = new Float32Array([1e8, 1e8, 1, 0, 1, -1e8, -1e8, 0, -1e8, 1, 1e8, 0]);
  const found = run(embeddingGradient(shape), gradient, [1, 1, 1], 12);
  assertEquals(found, new Float32Array([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
});

kernelTest("ids that are not in the table give NaN, and no gradient", () => {
  const shape = { vocabulary: 3, width: 4, tokens: 6 };
  const ids = [-1, 3, 2, 2 ** 31 - 1, -(2 ** 31), 0];
  const table = new Float32Array(12).map((_, i) => i);
  const found = run(embedding(shape), table, ids, 24);
  const none = [NaN, NaN, NaN, NaN];
  assertEquals(
    found,
    new Float32Array([...none, ...none, 8, 9, 10, 11, ...none, ...none, 0, 1, 2, 3]),
  );
  const gradient = new Float32Array(24).fill(1);
  const expected = new Float32Array([1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]);
  assertEquals(run(embeddingGradient(shape), gradient, ids, 12), expected);
});
