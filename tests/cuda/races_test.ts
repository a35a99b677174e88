/** What the emulated driver finds in rendered kernels: races, accesses out of bounds, barriers. */

import { assertEquals, assertMatch } from "@std/assert";
import { type GpuBlock, gpuKernel } from "../../kernels/gpu/block.ts";
import type { GpuStatement, Index, Place } from "../../kernels/gpu/language.ts";
import { matmulKernel } from "../../kernels/gpu/matmul/matmul.ts";
import { add, i32, lessThan, mul, sub, toF32 } from "../../kernels/language/language.ts";
import { failureOf, runCuda } from "../support/cuda_kernel.ts";

const THREADS = 32;
const BLOCKS = 2;
const SIZE = THREADS * BLOCKS;

interface Places {
  readonly x: Place<"f32">;
  readonly y: Place<"f32">;
}

/** Runs a kernel of 2 blocks of 32 threads on 64 numbers 0, 1, 2, … and gives its 64 results. */
function runKernel(write: (k: GpuBlock, places: Places, own: Index) => void): number[] {
  const code = gpuKernel("planted", THREADS, { x: "f32", y: "+f32" }, (k, places) => {
    write(k, places, k.let(add(mul(k.group, i32(THREADS)), k.thread)));
  });
  const data = Float32Array.from({ length: SIZE }, (_, i) => i);
  return [...runCuda(code, [data], SIZE, BLOCKS)];
}

/** The message of a kernel that fails, from what the driver says of the kernel. */
const failure = (write: Parameters<typeof runKernel>[0]): string =>
  failureOf(() => runKernel(write));

Deno.test("emulated CUDA: threads of a block exchange what they wrote before a barrier", () => {
  const found = runKernel((k, { x, y }, own) => {
    const tile = k.shared("f32", THREADS);
    k.write(tile, k.thread, k.read(x, own));
    k.barrier();
    k.write(y, own, k.read(tile, sub(i32(THREADS - 1), k.thread)));
  });
  const expected = Array.from({ length: SIZE }, (_, i) => i < 32 ? 31 - i : 95 - i);
  assertEquals(found, expected);
});

Deno.test("emulated CUDA: a read of shared memory without a barrier is a race", () => {
  const message = failure((k, { x, y }, own) => {
    const tile = k.shared("f32", THREADS);
    k.write(tile, k.thread, k.read(x, own));
    k.barrier();
    k.write(tile, k.thread, k.read(x, own));
    // The barrier that belongs here is missing.
    k.write(y, own, k.read(tile, sub(i32(THREADS - 1), k.thread)));
  });
  assertEquals(
    message,
    "kernel planted: race: thread 16 of block 0 writes shared shared0[16], which thread 15 read " +
      "with no barrier between them",
  );
});

Deno.test("emulated CUDA: two threads that write one shared element race", () => {
  const message = failure((k, { x, y }, own) => {
    const tile = k.shared("f32", THREADS);
    k.write(tile, i32(3), k.read(x, own));
    k.barrier();
    k.write(y, own, k.read(tile, i32(3)));
  });
  assertEquals(
    message,
    "kernel planted: race: thread 1 of block 0 writes shared shared0[3], which thread 0 wrote " +
      "with no barrier between them",
  );
});

Deno.test("emulated CUDA: a global element of two threads without a barrier is a race", () => {
  const message = failure((k, { x, y }, own) => {
    k.write(y, own, k.read(x, own));
    k.if(lessThan(i32(0), k.thread), () => k.write(y, own, k.read(y, sub(own, i32(1)))));
  });
  assertEquals(
    message,
    "kernel planted: race: thread 1 of block 0 reads global y[0], which thread 0 wrote " +
      "with no barrier between them",
  );
});

/** A body without one of its barriers, counted from the first. */
function withoutBarrier(body: readonly GpuStatement[], which: number): readonly GpuStatement[] {
  let left = which;
  const inner = (list: readonly GpuStatement[]): GpuStatement[] =>
    list.flatMap((s): GpuStatement[] => {
      if (s.kind === "barrier") return left-- === 0 ? [] : [s];
      if (s.kind === "for") return [{ ...s, body: inner(s.body) }];
      return s.kind === "if" ? [{ ...s, then: inner(s.then), otherwise: inner(s.otherwise) }] : [s];
    });
  return inner(body);
}

for (const numbers of ["f32", "tf32"] as const) {
  Deno.test(`emulated CUDA: a product in ${numbers} without any one of its barriers fails`, () => {
    const [m, n, length] = [130, 20, 70];
    const a = { mStride: length, kStride: 1, batchStride: 0 };
    const b = { kStride: n, nStride: 1, batchStride: 0 };
    const kernel = matmulKernel({ batch: 1, m, n, k: length, a, b }, undefined, numbers);
    const code = kernel.code();
    const inputs = [m * length, length * n].map((size) => new Float32Array(size).fill(1));
    const run = (body: readonly GpuStatement[]) =>
      runCuda({ ...code, body }, inputs, m * n, kernel.groups);
    const found = run(code.body);
    assertEquals(found.findIndex((value) => value !== length), -1);
    // Before the first stretch is read, between stretches, and before the tile is stored.
    for (const which of [0, 1, 2]) {
      const message = failureOf(() => run(withoutBarrier(code.body, which)));
      assertMatch(message, /^kernel matmul(_tf32)?: (race|unset memory): thread \d+ of block 0 /);
    }
  });
}

Deno.test("emulated CUDA: blocks have no barrier between them", () => {
  const write = failure((k, { y }) => k.write(y, k.thread, toF32(k.group)));
  assertEquals(
    write,
    "kernel planted: race: thread 0 of block 1 writes global y[0], which thread 0 of an earlier " +
      "block wrote",
  );
  const read = failure((k, { x, y }, own) => {
    k.write(y, own, k.read(x, own));
    k.barrier("operands");
    k.write(y, own, k.read(y, k.thread));
  });
  assertEquals(
    read,
    "kernel planted: race: thread 0 of block 1 reads global y[0], which thread 0 of an earlier " +
      "block wrote",
  );
});

Deno.test("emulated CUDA: accesses out of bounds", () => {
  assertEquals(
    failure((k, { x, y }, own) => k.write(y, own, k.read(x, add(own, i32(1))))),
    "kernel planted: out of bounds: thread 31 of block 1 reads global x[64], which has 64 elements",
  );
  assertEquals(
    failure((k, { x, y }, own) => k.write(y, sub(own, i32(1)), k.read(x, own))),
    "kernel planted: out of bounds: thread 0 of block 0 writes global y[-1], which has 64 elements",
  );
  assertEquals(
    failure((k, { x }, own) => {
      const tile = k.shared("f32", THREADS);
      k.write(tile, own, k.read(x, own));
    }),
    "kernel planted: out of bounds: thread 0 of block 1 writes shared shared0[32], which has 32 " +
      "elements",
  );
});

Deno.test("emulated CUDA: shared memory is unset at first, for every block", () => {
  const message = failure((k, { x, y }, own) => {
    const tile = k.shared("f32", THREADS);
    k.if(lessThan(k.group, i32(1)), () => k.write(tile, k.thread, k.read(x, own)));
    k.barrier();
    k.write(y, own, k.read(tile, k.thread));
  });
  assertEquals(
    message,
    "kernel planted: unset memory: thread 0 of block 1 reads shared shared0[0], which its block " +
      "has not written",
  );
});

Deno.test("emulated CUDA: a barrier that some threads do not reach, or another one", () => {
  const ended = failure((k) => k.if(lessThan(k.thread, i32(8)), () => k.barrier()));
  assertEquals(
    ended.replace(/line \d+/g, "line N"),
    "kernel planted: a barrier that not all threads reach: thread 0 waits in line N, thread 8 has " +
      "ended (block 0)",
  );
  const other = failure((k) =>
    k.if(lessThan(k.thread, i32(8)), () => k.barrier(), () => k.barrier())
  );
  assertEquals(
    other.replace(/line \d+/g, "line N"),
    "kernel planted: a barrier that not all threads reach: thread 0 waits in line N, thread 8 " +
      "waits in line N (block 0)",
  );
});

Deno.test("emulated CUDA: four elements at once lie at multiples of 16 bytes, and are each checked", () => {
  const found = runKernel((k, { x, y }) => {
    const tile = k.shared("f32", SIZE);
    k.if(lessThan(k.thread, i32(THREADS / 4)), () => {
      const at = k.let(mul(add(mul(k.group, i32(THREADS / 4)), k.thread), i32(4)));
      k.write4(tile, at, k.read4(x, at));
      const [a, b, c, d] = k.read4(tile, at);
      k.write4(y, at, [d, c, b, a]);
    });
  });
  assertEquals(found.slice(0, 8), [3, 2, 1, 0, 7, 6, 5, 4]);
  assertEquals(
    failure((k, { x, y }, own) => k.write(y, own, k.read4(x, k.thread)[0])),
    "kernel planted: misaligned: thread 1 of block 0 takes four elements from global x[1] on, which " +
      "does not lie at a multiple of 16 bytes",
  );
  assertEquals(
    failure((k, { x, y }, own) => {
      const tile = k.shared("f32", THREADS);
      k.if(lessThan(k.thread, i32(4)), () => {
        const at = mul(k.thread, i32(4));
        k.write4(tile, at, k.read4(x, at));
      });
      k.write(y, own, k.read4(tile, i32(0))[3]);
    }),
    "kernel planted: race: thread 1 of block 0 reads shared shared0[0], which thread 0 wrote " +
      "with no barrier between them",
  );
});
