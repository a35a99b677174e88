import { assert, assertEquals } from "@std/assert";
import type { WeightDType } from "../../../graph/tensor.ts";
import type { MatmulShape } from "../../../kernels/kernel.ts";
import { kernel } from "../../../kernels/language/block.ts";
import {
  dotBytes,
  highNibbles,
  highQuants,
  i32,
  load,
  loadBf16,
  loadF16,
  loadI8,
  loadPairs,
  loadQuad,
  lowNibbles,
  lowQuants,
  mul,
  offset,
  spread,
  wholeToF32,
} from "../../../kernels/language/language.ts";
import type { Expr, Vector } from "../../../kernels/language/syntax.ts";
import { isMatvec, matvecKernel } from "../../../kernels/matvec/matvec.ts";
import { wholeActivations } from "../../../kernels/reference/weights.ts";
import { decodeWeights, encodeWeights } from "../../../kernels/weights/weights.ts";
import { arena, compile, kernelTest, targetLanes, targetLevel } from "../../support/kernels.ts";
import { random } from "../../support/random.ts";

const reals = (count: number, seed: number): Float32Array<ArrayBuffer> => {
  const source = random(seed);
  return new Float32Array(count).map(() => source.uniform(-1, 1));
};

/** Bytes as words of an arena. */
function placeBytes(memory: ReturnType<typeof arena>, bytes: Uint8Array): number {
  const words = new Int32Array(Math.ceil(bytes.length / 4));
  new Uint8Array(words.buffer).set(bytes);
  return memory.place(words, "i32");
}

/** The largest error by what the absolute products sum to. */
function error(
  shape: MatmulShape,
  a: Float32Array,
  stored: Uint8Array,
  b: Float32Array,
  itemsAtOnce: number,
  dots = false,
): { worst: number; found: Float32Array } {
  const { m, n, k } = shape;
  const memory = arena(1 << 20);
  const operands = [memory.place(a), placeBytes(memory, stored), memory.room(m * n)];
  const made = matvecKernel(shape, undefined, dots);
  const runner = compile(made, memory);
  for (let begin = 0; begin < made.items; begin += itemsAtOnce) {
    runner(operands, begin, Math.min(begin + itemsAtOnce, made.items));
  }
  assertEquals(memory.read(operands[2] - 16, 4), new Float32Array(4).fill(NaN));
  assertEquals(memory.read(operands[2] + 4 * m * n, 4), new Float32Array(4).fill(NaN));
  const found = memory.read(operands[2], m * n);
  const left = shape.weight === "q4_0" || dots ? wholeActivations(a) : a;
  let worst = 0;
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let [sum, size] = [0, 0];
      for (let x = 0; x < k; x++) {
        const product = left[row * shape.a.mStride + x] *
          b[column * shape.b.nStride + x * shape.b.kStride];
        sum += product;
        size += Math.abs(product);
      }
      worst = Math.max(worst, Math.abs(found[row * n + column] - sum) / size);
    }
  }
  return { worst, found };
}

const bytesOf = (values: Float32Array<ArrayBuffer>) => new Uint8Array(values.buffer);

// Rows whose lengths leave whole vectors of every width, fours and ones; columns of no whole item.
const SIZES = [
  ...[[1, 1, 1], [1, 5, 3], [1, 64, 16], [2, 100, 18], [3, 87, 37], [4, 139, 70]],
  ...[[5, 70, 9], [8, 75, 37]],
];

kernelTest("rows by a matrix of f32 whose columns or rows are contiguous", () => {
  for (const [m, k, n] of SIZES) {
    for (const along of [true, false]) {
      const shape: MatmulShape = {
        ...{ batch: 1, m, n, k },
        a: { batchStride: 0, mStride: k, kStride: 1 },
        b: { batchStride: 0, nStride: along ? k : 1, kStride: along ? 1 : n },
      };
      assertEquals(isMatvec(shape), along || m <= 4);
      const [a, b] = [reals(m * k, m), reals(k * n, n)];
      const { worst, found } = error(shape, a, bytesOf(b), b, 1000);
      assert(worst < 1e-6, `${m} × ${k} × ${n}, ${along}: ${worst}`);
      assertEquals(error(shape, a, bytesOf(b), b, 1).found, found);
    }
  }
});

kernelTest("rows by stored weights", () => {
  const whole = [
    ...[[1, 32, 1], [1, 96, 17], [2, 64, 7], [3, 32, 50], [4, 160, 22]],
    ...[[7, 96, 18], [8, 64, 33]],
  ];
  for (const dtype of ["bf16", "q8_0", "q4_0"] as const satisfies WeightDType[]) {
    for (const [m, k, n] of dtype === "bf16" ? [...SIZES, ...whole] : whole) {
      const shape: MatmulShape = {
        ...{ batch: 1, m, n, k, weight: dtype },
        a: { batchStride: 0, mStride: k, kStride: 1 },
        b: { batchStride: 0, nStride: k, kStride: 1 },
      };
      const stored = encodeWeights(dtype, reals(n * k, n), [n, k]);
      // Large and small blocks side by side: each has a scale of its own.
      const a = reals(m * k, m).map((x, i) => x * [1, 1e-3, 1e3][Math.floor(i / 32) % 3]);
      const b = decodeWeights(dtype, stored, [n, k]);
      const { worst, found } = error(shape, a, stored, b, 1000);
      assert(worst < 1e-6, `${dtype} ${m} × ${k} × ${n}: ${worst}`);
      assertEquals(error(shape, a, stored, b, 1).found, found);
    }
  }
});

kernelTest("rows by q8_0 weights, activations as whole numbers where bytes are multiplied", () => {
  const level = targetLevel();
  const dots = level === "vnni" || level === "amx";
  for (const [m, k, n] of [[1, 32, 1], [1, 576, 19], [2, 64, 7], [3, 160, 50], [4, 160, 22]]) {
    const shape: MatmulShape = {
      ...{ batch: 1, m, n, k, weight: "q8_0" },
      a: { batchStride: 0, mStride: k, kStride: 1 },
      b: { batchStride: 0, nStride: k, kStride: 1 },
    };
    // The largest and the smallest bytes, next to each other.
    const weights = reals(n * k, n).map((x, i) => i % 5 < 2 ? 2 * (i % 5) - 1 : x);
    const stored = encodeWeights("q8_0", weights, [n, k]);
    const a = reals(m * k, m).map((x, i) => x * [1, 1e-3, 1e3][Math.floor(i / 32) % 3]);
    const b = decodeWeights("q8_0", stored, [n, k]);
    const { worst, found } = error(shape, a, stored, b, 1000, dots);
    assert(worst < 1e-6, `${m} × ${k} × ${n}: ${worst}`);
    assertEquals(error(shape, a, stored, b, 1, dots).found, found);
    const wrong = error(shape, a.with(k - 1, NaN), stored, b, 1, dots).found;
    assert(wrong.slice(0, m * n).some(Number.isNaN));
  }
});

kernelTest(
  "activations beside q4_0: zeros, tiny values and halves of steps; NaN and infinity stay",
  () => {
    const shape: MatmulShape = {
      ...{ batch: 1, m: 1, n: 4, k: 128, weight: "q4_0" },
      a: { batchStride: 0, mStride: 128, kStride: 1 },
      b: { batchStride: 0, nStride: 128, kStride: 1 },
    };
    const weights = new Float32Array(4 * 128).map((_, i) => i % 9 - 4);
    const stored = encodeWeights("q4_0", weights, [4, 128]);
    const b = decodeWeights("q4_0", stored, [4, 128]);
    const a = new Float32Array(128);
    a.set([127, 0.5, -0.5, 1.5, -1.5, 2.5, 1e-20], 32);
    a.fill(-1e-38, 64, 96);
    a.set([-3e36, 1e36], 96);
    const { worst } = error(shape, a, stored, b, 1);
    assert(worst < 1e-6, `${worst}`);
    for (const [at, value] of [[0, NaN], [37, NaN], [127, Infinity], [80, -Infinity]]) {
      const { found } = error(shape, a.with(at, value), stored, b, 1);
      assert(found.every(Number.isNaN), `${value} at ${at}: ${found}`);
    }
  },
);

kernelTest(
  "bytes: halves, products of two, groups of four lanes, and whole numbers as bytes",
  () => {
    const lanes = targetLanes();
    const bytes = new Uint8Array(192).map((_, i) => 37 * i + 129);
    const words = Int32Array.from({ length: 16 }, (_, i) => 1000 * i - 7000);
    const reals = Float32Array.from({ length: 16 }, (_, i) => i % 2 === 0 ? 8 * i : -8 * i - 8);
    const memory = arena(4096);
    const [at, sumsAt, realsAt] = [
      placeBytes(memory, bytes),
      memory.place(words, "i32"),
      memory.place(reals),
    ];
    const out = memory.room(6 * lanes);
    const code = () =>
      kernel(
        "test",
        {
          ...{ x: "ptr", sums: "ptr", reals: "ptr", to: "ptr" } as const,
          ...{ scratch: "ptr", begin: "i32", end: "i32" } as const,
        },
        (k, { x, sums, reals, to }) => {
          const store = (value: Expr<Vector>, place: number) =>
            k.store(value, to, place * k.vectorBytes);
          const value = k.let(load(k.vector, x, 1));
          const low = k.let(lowNibbles(value));
          const dot = dotBytes(low, load(k.vector, x, 67), load(k.vector, sums));
          store(low, 0);
          store(highNibbles(value), 1);
          store(wholeToF32(k.let(dot)), 2);
          store(loadQuad(k.vector, x, 5), 3);
          const four = k.let(load("f32x4", reals, 4));
          store(k.lanes === 4 ? spread(four, 2, "f32x4") : spread(four, 1, k.vector), 4);
          k.storeBytes(load(k.vector, reals), to, 5 * k.vectorBytes);
        },
        lanes,
      );
    const made = { key: "test", code, items: 1, scratchBytes: 0, flops: 0, bytes: 0 };
    compile(made, memory)([at, sumsAt, realsAt, out]);
    const found = memory.read(out, 6 * lanes);
    const foundBytes = [...new Uint8Array(found.buffer)];
    const partBytes = (part: number, count = 4 * lanes) =>
      foundBytes.slice(4 * lanes * part, 4 * lanes * part + count);
    const part = (index: number) => [...found.subarray(index * lanes, (index + 1) * lanes)];
    const values = [...bytes.subarray(1, 1 + 4 * lanes)];
    assertEquals(partBytes(0), values.map((byte) => byte & 15));
    assertEquals(partBytes(1), values.map((byte) => byte >> 4));
    const quadSums = (list: readonly number[]) =>
      Array.from(
        { length: lanes / 4 },
        (_, q) => list.slice(4 * q, 4 * q + 4).reduce((x, y) => x + y),
      );
    const products = Array.from({ length: lanes }, (_, i) =>
      [0, 1, 2, 3].reduce(
        (sum, j) => sum + (values[4 * i + j] & 15) * (bytes[67 + 4 * i + j] << 24 >> 24),
        words[i],
      ));
    assertEquals(quadSums(part(2)), quadSums(products));
    assertEquals(partBytes(3), Array.from({ length: 4 * lanes }, (_, i) => bytes[5 + i % 16]));
    const first = lanes === 4 ? 2 : 1;
    const spreads = Array.from({ length: lanes }, (_, i) => reals[1 + first + Math.floor(i / 4)]);
    // A vector of four has no lane for the last of sixteen.
    const known = Math.min(lanes, 12);
    assertEquals(part(4).slice(0, known), spreads.slice(0, known));
    const signed = new Int8Array(Uint8Array.from(partBytes(5, lanes)).buffer);
    assertEquals([...signed], [...reals.subarray(0, lanes)]);
    // No byte more was written.
    assertEquals(part(5).slice(lanes / 4), new Array(lanes - lanes / 4).fill(NaN));
  },
);

kernelTest("loads widen bf16, f16, bytes and halves of bytes to f32", () => {
  const lanes = targetLanes();
  const bytes = new Uint8Array(64).map((_, i) => 37 * i + 129);
  const halves = Float16Array.of(1.5, -65504, 2 ** -24, -0.0999);
  bytes.set(new Uint8Array(halves.buffer), 48);
  const memory = arena(4096);
  const at = placeBytes(memory, bytes);
  const out = memory.room(4 * lanes + 6);
  const code = () =>
    kernel("test", { x: "ptr", scratch: "ptr", begin: "i32", end: "i32" }, (k, { x }) => {
      const to = k.let(offset(x, mul(i32(1), i32(out - at))));
      const vectors = [
        loadBf16(k.vector, x, 2),
        loadI8(k.vector, x, 1),
        lowQuants(loadPairs(k.vector, x, 1)),
        highQuants(loadPairs(k.vector, x, 1)),
      ];
      vectors.forEach((vector, i) => k.store(vector, to, i * k.vectorBytes));
      const after = 4 * k.vectorBytes;
      k.store(loadF16("f32x4", x, 48), to, after);
      k.store(loadF16("f32", x, 54), to, after + 16);
      k.store(loadBf16("f32", x, 4), to, after + 20);
      k.store(load("f32", x), x);
    }, lanes);
  compile({ key: "test", code, items: 1, scratchBytes: 0, flops: 0, bytes: 0 }, memory)([at]);
  const words = new Uint16Array(bytes.buffer);
  const bf16 = (i: number) => new Float32Array(Uint32Array.of(words[i] << 16).buffer)[0];
  const each = (of: (i: number) => number) => Array.from({ length: lanes }, (_, i) => of(i));
  assertEquals([...memory.read(out, 4 * lanes + 6)], [
    ...each((i) => bf16(1 + i)),
    ...each((i) => bytes[1 + i] << 24 >> 24),
    ...each((i) => (bytes[1 + i] & 15) - 8),
    ...each((i) => (bytes[1 + i] >> 4) - 8),
    ...[...halves, halves[3], bf16(2)],
  ]);
});
