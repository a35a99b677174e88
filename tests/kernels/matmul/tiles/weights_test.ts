import { assert, assertEquals } from "@std/assert";
import { isBlocked, type WeightDType } from "../../../../graph/tensor.ts";
import { wholeView } from "../../../../graph/view.ts";
import { matmulShape } from "../../../../kernels/matmul/shape.ts";
import { renderX64 } from "../../../../kernels/render/x64.ts";
import { tileMatmulKernel } from "../../../../kernels/matmul/tiles/matmul.ts";
import { suitsTiles } from "../../../../kernels/matmul/tiles/shape.ts";
import { decodeWeights, encodeWeights } from "../../../../kernels/weights/weights.ts";
import { arena, compile, kernelTest, TARGETS } from "../../../support/kernels.ts";
import { random } from "../../../support/random.ts";

/** What runs tiles here. */
const AMX = TARGETS.filter((target) => target === "amx");

const DTYPES: readonly WeightDType[] = ["bf16", "q8_0", "q4_0"];

// Panels and parts of them, of rows and columns; few rows and many; k by parts, and with an end that
// only bf16 has.
const SIZES = [
  [8, 64, 64],
  [5, 96, 128],
  [16, 37, 256],
  [40, 30, 96],
  [64, 258, 64],
  [70, 131, 32],
  [130, 48, 96],
  [64, 67, 1088],
  [100, 65, 1152],
  [8, 50, 50],
  [33, 47, 1030],
  [70, 45, 1030],
  [64, 33, 200],
] as const;

const reals = (count: number, seed: number): Float32Array<ArrayBuffer> => {
  const source = random(seed);
  return new Float32Array(count).map(() => source.uniform(-1, 1));
};

const shapeOf = (m: number, n: number, k: number, dtype?: WeightDType) =>
  matmulShape(wholeView([m, k]), wholeView([n, k]), false, true, dtype);

/** Stored weights as words of 32 bits. */
const words = (bytes: Uint8Array<ArrayBuffer>): Int32Array => {
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return new Int32Array(padded.buffer);
};

/** The product by tiles, its items done so many at a time. */
function product(
  [m, n, k]: readonly [number, number, number],
  dtype: WeightDType | undefined,
  a: Float32Array,
  b: Float32Array | Int32Array,
  { threads = 1, atOnce = Infinity } = {},
): Float32Array {
  const made = tileMatmulKernel(shapeOf(m, n, k, dtype), threads);
  const memory = arena(made.scratchBytes + 4 * (a.length + b.length + m * n) + 4096);
  const weights = memory.place(b, b instanceof Int32Array ? "i32" : "f32");
  const operands = [memory.place(a), weights, memory.room(m * n)];
  const run = compile(made, memory);
  for (let begin = 0; begin < made.items; begin += atOnce) {
    run(operands, begin, Math.min(begin + atOnce, made.items));
  }
  assertEquals(memory.read(operands[2] - 16, 4), new Float32Array(4).fill(NaN));
  assertEquals(memory.read(operands[2] + 4 * m * n, 4), new Float32Array(4).fill(NaN));
  return memory.read(operands[2], m * n);
}

/** The largest error, by what absolute products sum to. */
function error(
  [m, n, k]: readonly [number, number, number],
  a: Float32Array,
  b: Float32Array,
  found: Float32Array,
): number {
  let worst = 0;
  for (let place = 0; place < m * n; place++) {
    const [row, column] = [Math.floor(place / n), place % n];
    let [sum, size] = [0, 0];
    for (let x = 0; x < k; x++) {
      const one = a[row * k + x] * b[column * k + x];
      sum += one;
      size += Math.abs(one);
    }
    // Not finite counts as well.
    const off = Math.abs(found[place] - sum) / size;
    worst = off <= worst ? worst : off;
  }
  return worst;
}

const differs = (a: Float32Array, b: Float32Array) => a.findIndex((x, i) => x !== b[i]);

for (const dtype of DTYPES) {
  kernelTest(`tiles of ${dtype}: as exact as f32, with the same bits in any cut`, () => {
    for (const sizes of SIZES) {
      const [m, n, k] = sizes;
      if (isBlocked(dtype) && k % 32 !== 0) continue;
      const a = reals(m * k, m);
      const stored = encodeWeights(dtype, reals(n * k, n), [n, k]);
      const b = decodeWeights(dtype, stored, [n, k]);
      const found = product(sizes, dtype, a, words(stored));
      const worst = error(sizes, a, b, found);
      assert(worst < 4e-7, `${sizes}: ${worst}`);
      for (const cut of [{ threads: 2, atOnce: 1 }, { threads: 7 }]) {
        assertEquals(differs(product(sizes, dtype, a, words(stored), cut), found), -1, `${sizes}`);
      }
      // Of fewer rows a bf16's pairs are as they lie in memory, and other numbers are added first.
      if (dtype !== "bf16" || m <= 64) continue;
      assertEquals(differs(product(sizes, undefined, a, b), found), -1, `${sizes}: bits of f32`);
    }
  }, AMX);
}

Deno.test("tiles of stored weights: code for every product, without spills", () => {
  for (const dtype of DTYPES) {
    for (const [m, n, k] of SIZES) {
      if (isBlocked(dtype) && k % 32 !== 0) continue;
      const made = tileMatmulKernel(shapeOf(m, n, k, dtype), 2);
      const { code, spilled } = renderX64(made.code(16), "amx");
      assert(code.length > 0);
      assertEquals(spilled.vectors, 0);
    }
  }
});

Deno.test("tiles of stored weights: which products go there", () => {
  assert(suitsTiles(shapeOf(9, 576, 576, "q4_0")));
  assert(!suitsTiles(shapeOf(8, 576, 576, "q4_0")), "few rows, which need no packing");
  assert(suitsTiles(shapeOf(5, 576, 576, "bf16")), "nor do tiles");
  assert(!suitsTiles(shapeOf(4, 1024, 1024, "bf16")));
  assert(!suitsTiles(shapeOf(64, 576, 575, "bf16")), "half a pair at the end");
});
