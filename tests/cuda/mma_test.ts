/** Products of tiles by a warp on the emulated driver: what they are, and what it finds wrong. */

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type GpuBlock, gpuKernel } from "../../kernels/gpu/block.ts";
import { f32, type Float } from "../../kernels/gpu/language.ts";
import { add, div, i32, lessThan, mul, rem } from "../../kernels/language/language.ts";
import { renderCuda } from "../../kernels/render/cuda.ts";
import { renderWgsl } from "../../kernels/render/wgsl.ts";
import { failureOf, runCuda } from "../support/cuda_kernel.ts";
import { random } from "../support/random.ts";
import { rounded } from "../support/tf32.ts";

const [ROWS, COLUMNS, STEPS] = [16, 8, 8];

/** Writes a·b of [16, 8] and [8, 8], where `run` does the product. */
const tile = (
  run: (k: GpuBlock, multiply: () => void) => void,
  round: (k: GpuBlock, value: Float) => Float = (k, value) => k.tf32(value),
) =>
  gpuKernel("tile", 32, { a: "f32", b: "f32", product: "+f32" }, (k, { a, b, product }) => {
    const x = k.let(rem(div(k.thread, i32(4)), i32(8)));
    const y = k.let(rem(k.thread, i32(4)));
    const zero = () => k.variable(f32(0));
    const sums = [zero(), zero(), zero(), zero()] as const;
    const left = (row: number, step: number) =>
      round(
        k,
        k.read(a, add(mul(add(x, i32(row)), i32(STEPS)), add(y, i32(step)))),
      );
    const right = (step: number) =>
      round(k, k.read(b, add(mul(add(y, i32(step)), i32(COLUMNS)), x)));
    const lefts = [left(0, 0), left(8, 0), left(0, 4), left(8, 4)] as const;
    const rights = [right(0), right(4)] as const;
    run(k, () => k.mma(sums, lefts, rights));
    sums.forEach((sum, i) => {
      const row = add(x, i32(i < 2 ? 0 : 8));
      const column = add(mul(y, i32(2)), i32(i % 2));
      k.write(product, add(mul(row, i32(COLUMNS)), column), sum);
    });
  });

const source = random(1);
const [a, b] = [ROWS * STEPS, STEPS * COLUMNS].map((size) =>
  Float32Array.from({ length: size }, () => source.uniform(-1, 1))
);

const failure = (code: ReturnType<typeof tile>) =>
  failureOf(() => runCuda(code, [a, b], ROWS * COLUMNS)).replace(/line \d+/g, "line N");

Deno.test("emulated CUDA: a product of tiles rounds to TF32 and sums in f32", () => {
  const found = runCuda(tile((_, multiply) => multiply()), [a, b], ROWS * COLUMNS);
  const apart = found.map((value, i) => {
    let expected = 0;
    for (let step = 0; step < STEPS; step++) {
      const left = rounded(a[Math.floor(i / COLUMNS) * STEPS + step], "tf32");
      expected += left * rounded(b[step * COLUMNS + i % COLUMNS], "tf32");
    }
    return Math.abs(value - expected);
  });
  assertEquals(apart.findIndex((difference) => !(difference < 1e-6)), -1);
});

Deno.test("emulated CUDA: TF32 is the nearest of 11 bits, of two the one farther from 0", () => {
  const values = [1, 1 + 2 ** -11, 1 + 2 ** -11 - 2 ** -23, -1 - 2 ** -11, 1 + 3 * 2 ** -11];
  values.push(Infinity, -Infinity, NaN, 0, 3.4028234663852886e38, 2 ** -149, 2 ** -137);
  const code = gpuKernel("rounds", 32, { x: "f32", y: "+f32" }, (k, { x, y }) => {
    k.if(lessThan(k.thread, i32(values.length)), () => {
      k.write(y, k.thread, k.tf32(k.read(x, k.thread)));
    });
  });
  const found = runCuda(code, [Float32Array.from(values)], values.length);
  const expected = [1, 1 + 2 ** -10, 1, -1 - 2 ** -10, 1 + 2 ** -9];
  expected.push(Infinity, -Infinity, NaN, 0, Infinity, 0, 2 ** -136);
  assertEquals([...found], expected);
});

Deno.test("emulated CUDA: a product of tiles that not all threads of a warp reach", () => {
  assertEquals(
    failure(tile((k, multiply) => k.if(lessThan(k.thread, i32(31)), multiply))),
    "kernel tile: an mma that not all threads of a warp reach: thread 0 multiplies in line N, " +
      "thread 31 has ended (block 0)",
  );
  assertEquals(
    failure(tile((k, multiply) => k.if(lessThan(k.thread, i32(16)), multiply, multiply))),
    "kernel tile: an mma that not all threads of a warp reach: thread 0 multiplies in line N, " +
      "thread 16 multiplies in line N (block 0)",
  );
  assertEquals(
    failure(tile((k, multiply) => k.if(lessThan(k.thread, i32(8)), multiply, () => k.barrier()))),
    "kernel tile: an mma that not all threads of a warp reach: thread 0 multiplies in line N, " +
      "thread 8 waits in line N (block 0)",
  );
  const few = { ...tile((_, multiply) => multiply()), threads: 24 };
  assertEquals(
    failure(few),
    "kernel tile: an mma that not all threads of a warp reach: thread 0 multiplies in line N, " +
      "thread 24 is not in the block (block 0)",
  );
});

Deno.test("emulated CUDA: a product of numbers that are not rounded to TF32", () => {
  assertStringIncludes(
    failure(tile((_, multiply) => multiply(), (_, value) => value)),
    "kernel tile: an mma of numbers that are not TF32: thread 0 has ",
  );
});

Deno.test("tensor cores: as PTX in CUDA, and not in WGSL", () => {
  const code = tile((_, multiply) => multiply());
  const text = renderCuda([{ name: "tile", code, elements: [128, 64, 128], label: "a test" }]);
  assert(/mma\(l\d+, .*\);/.test(text) && /= to_tf32\(l\d+\);/.test(text));
  const layout = {
    arrays: [0, 1, 2],
    written: [false, false, true],
    grid: [1, 1],
    groups: 1,
  } as const;
  assertThrows(
    () => renderWgsl(code, layout),
    Error,
    "gpu kernel: tf32 is of CUDA's kernels",
  );
});
