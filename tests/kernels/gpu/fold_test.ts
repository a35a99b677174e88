/** What neighbouring threads fold, by subgroups of every size at hand and as a tree. */

import { assertEquals, assertThrows } from "@std/assert";
import { type GpuBlock, gpuKernel, type Subgroup } from "../../../kernels/gpu/block.ts";
import { foldLanes } from "../../../kernels/gpu/fold.ts";
import { f32, type Float } from "../../../kernels/gpu/language.ts";
import { add, i32, lessThan, max } from "../../../kernels/language/language.ts";
import { areSideBySide } from "../../../devices/webgpu/subgroups.ts";
import { openBlankTab } from "../../support/chromium.ts";
import { failureOf, runCuda } from "../../support/cuda_kernel.ts";
import { runWgsl, wgslKernel } from "../../support/wgsl_kernel.ts";

const THREADS = 256;
/** Every way in which the threads of a group can be folded. */
const POWERS = Array.from({ length: 9 }, (_, i) => 2 ** i);
const WAYS = POWERS.flatMap((apart) =>
  POWERS.filter((lanes) => lanes > 1 && lanes * apart <= THREADS).map((lanes) => ({ lanes, apart }))
);

/** For every way, each thread's sum, and then its largest. */
const CODE = gpuKernel("folds", THREADS, { x: "f32", y: "+f32" }, (k, { x, y }) => {
  const scratch = k.shared("f32", 2 * THREADS);
  const own = k.read(x, k.thread);
  WAYS.forEach(({ lanes, apart }, w) => {
    const combine = (a: Float, b: Float, i: number) => i === 0 ? add(a, b) : max(a, b);
    foldLanes(k, scratch, lanes, [own, own], combine, apart).forEach((result, i) => {
      k.write(y, add(k.thread, i32((2 * w + i) * THREADS)), result);
    });
  });
});
const SIZE = WAYS.length * 2 * THREADS;

/** Whole numbers, whose sums are exact in any order. */
const INPUT = Array.from({ length: THREADS }, (_, i) => (i * 7919) % 1009);
const EXPECTED = WAYS.flatMap(({ lanes, apart }) => {
  const ofRow = (thread: number) => {
    const first = thread - thread % (lanes * apart) + thread % apart;
    return Array.from({ length: lanes }, (_, i) => INPUT[first + i * apart]);
  };
  const rows = INPUT.map((_, thread) => ofRow(thread));
  return [
    ...rows.map((row) => row.reduce((a, b) => a + b)),
    ...rows.map((row) => Math.max(...row)),
  ];
});

/** The first way that is not what it should be. */
const wrong = (found: ArrayLike<number>) =>
  WAYS[Math.floor(EXPECTED.findIndex((value, i) => value !== found[i]) / (2 * THREADS))];

Deno.test("folds: by warps of 32, on the emulated CUDA driver", () => {
  assertEquals(wrong(runCuda(CODE, [Float32Array.from(INPUT)], SIZE)), undefined);
});

Deno.test("folds: by subgroups and without, on WebGPU", async () => {
  for (const subgroups of ["undeclared", undefined] as const) {
    assertEquals(wrong(await runWgsl(wgslKernel(CODE, subgroups), INPUT, SIZE)), undefined);
  }
});

Deno.test("folds: by subgroups and without, in Chromium", async () => {
  await using tab = await openBlankTab();
  for (const subgroups of ["enabled", undefined] as const) {
    const input = JSON.stringify([wgslKernel(CODE, subgroups), INPUT, SIZE]);
    const found = await tab.evaluate<number[]>(`(${runWgsl})(...${input})`);
    assertEquals(wrong(found), undefined);
  }
});

Deno.test("subgroups: only those that lie side by side, of one size", () => {
  const words = (of: (thread: number) => [number, number]) =>
    areSideBySide(Uint32Array.from(Array.from({ length: 256 }, (_, i) => of(i)).flat()));
  for (const size of [4, 8, 16, 32, 64, 128]) assertEquals(words((i) => [size, i % size]), true);
  for (const size of [1, 2, 12, 256]) assertEquals(words((i) => [size, i % size]), false);
  assertEquals(words((i) => [i < 128 ? 16 : 32, i % 16]), false);
  // Squares of threads, as some GPUs have them for groups of two dimensions.
  assertEquals(words((i) => [4, (i % 2) + 2 * (Math.floor(i / 16) % 2)]), false);
});

/** A kernel of a group of 64 with a shuffle. */
const shuffled = (write: (k: GpuBlock, shuffle: (value: Float) => Float, own: Float) => Float) =>
  gpuKernel("planted", 64, { x: "f32", y: "+f32" }, (k, { x, y }) => {
    const own = k.read(x, k.thread);
    const result = k.variable(own);
    k.bySubgroups(({ shuffle }: Subgroup) => {
      k.set(result, write(k, (value) => shuffle(value, 2), own));
    }, () => {});
    k.write(y, k.thread, result);
  });

const run = (code: ReturnType<typeof shuffled>) =>
  runCuda(code, [Float32Array.from({ length: 64 }, (_, i) => i)], 64);
const failure = (code: ReturnType<typeof shuffled>) =>
  failureOf(() => void run(code)).replace(/line \d+/g, "line N");

Deno.test("emulated CUDA: a warp's threads exchange values, as often as they like", () => {
  const twice = shuffled((_, shuffle, own) => shuffle(add(shuffle(own), own)));
  const sums = Array.from({ length: 64 }, (_, i) => i + (i ^ 2));
  assertEquals([...run(twice)], sums);
});

Deno.test("emulated CUDA: a shuffle that not all threads of a warp reach is an error", () => {
  const reached = (threads: number) =>
    shuffled((k, shuffle, own) => {
      const result = k.variable(own);
      k.if(lessThan(k.thread, i32(threads)), () => k.set(result, shuffle(own)));
      return result;
    });
  // All of the first warp, none of the second.
  assertEquals(run(reached(32))[0], 2);
  assertEquals(
    failure(reached(40)),
    "kernel planted: a shuffle that not all threads of a warp reach: thread 32 shuffles in line N, " +
      "thread 40 has ended (block 0)",
  );
  assertEquals(
    failure(shuffled((k, shuffle, own) => {
      const result = k.variable(own);
      k.if(
        lessThan(k.thread, i32(5)),
        () => k.set(result, shuffle(own)),
        () => k.barrier(),
      );
      return result;
    })),
    "kernel planted: a shuffle that not all threads of a warp reach: thread 0 shuffles in line N, " +
      "thread 5 waits in line N (block 0)",
  );
});

Deno.test("gpu kernel: subgroups are for where they are said to be", () => {
  const code = gpuKernel("planted", 64, { x: "f32", y: "+f32" }, (k, { x, y }) => {
    k.bySubgroups(({ shuffle }) => {
      k.write(y, k.thread, shuffle(k.read(x, k.thread), 1));
    }, () => k.write(y, k.thread, f32(0)));
  });
  assertEquals(wgslKernel(code).includes("subgroup"), false);
  assertThrows(
    () => {
      const [{ then }] = code.body as never as { then: typeof code.body }[];
      wgslKernel({ ...code, body: then });
    },
    Error,
    "subgroups where there may be none",
  );
});
