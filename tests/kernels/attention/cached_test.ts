import { assertEquals } from "@std/assert";
import { cachedAttention } from "../../../kernels/attention/cached.ts";
import * as reference from "../../../kernels/reference/attention.ts";
import { assertClose } from "../../support/compare.ts";
import { arena, compile, kernelTest } from "../../support/kernels.ts";
import { random } from "../../support/random.ts";
import { type Problem, problem, runAll, type Size, TOLERANCE, values } from "./problem.ts";

/** A cache with room, filled up to every start, and NaN behind it. */
function caches(
  { shape: { batch, kvHeads, width } }: Problem,
  capacity: number,
  starts: readonly number[],
): { keys: Float32Array; values: Float32Array } {
  const source = random(capacity);
  const fill = () =>
    new Float32Array(batch * kvHeads * capacity * width).map((_, i) => {
      const row = Math.floor(i / width);
      const used = row % capacity < starts[Math.floor(row / capacity / kvHeads)];
      return used ? source.uniform(-1, 1) : NaN;
    });
  return { keys: fill(), values: fill() };
}

function cached(
  p: Problem,
  capacity: number,
  starts: readonly number[],
  itemsAtOnce?: number,
): Float32Array[] {
  const { keys, values } = caches(p, capacity, starts);
  const kernel = cachedAttention({ ...p.shape, capacity });
  const memory = arena(1 << 22);
  const { batch, time, heads, width } = p.shape;
  const inputs = [p.q, p.k, p.v, keys, values].map((x) => memory.place(x));
  const size = batch * time * heads * width;
  const operands = [...inputs, memory.place(starts, "i32"), memory.room(size)];
  const run = compile(kernel, memory);
  runAll(kernel, itemsAtOnce ?? kernel.items, (begin, end) => run(operands, begin, end));
  return [
    memory.read(operands[6], size),
    memory.read(inputs[3], keys.length),
    memory.read(inputs[4], values.length),
  ];
}

interface Cached {
  readonly size: Size;
  readonly capacity: number;
  readonly starts: readonly number[];
  readonly window?: number;
}

const CACHED: readonly Cached[] = [
  { size: [1, 1, 1, 1, 8], capacity: 1, starts: [0] },
  { size: [2, 1, 6, 2, 12], capacity: 70, starts: [0, 68] },
  { size: [2, 1, 7, 1, 64], capacity: 201, starts: [200, 127] },
  { size: [1, 1, 2, 2, 128], capacity: 66, starts: [63] },
  { size: [1, 1, 15, 1, 16], capacity: 130, starts: [129] },
  { size: [2, 5, 4, 2, 12], capacity: 61, starts: [0, 56] },
  { size: [2, 37, 2, 1, 32], capacity: 150, starts: [3, 113] },
  { size: [1, 100, 2, 2, 64], capacity: 230, starts: [129] },
  // Rings of a window: before they are full, as they become it, and after.
  { size: [2, 1, 6, 2, 12], capacity: 70, starts: [0, 69], window: 70 },
  { size: [3, 1, 7, 1, 64], capacity: 65, starts: [65, 64, 1000], window: 65 },
  { size: [3, 5, 4, 2, 12], capacity: 61, starts: [0, 56, 57], window: 61 },
  { size: [2, 37, 2, 1, 32], capacity: 40, starts: [3, 4], window: 40 },
  { size: [2, 37, 3, 1, 8], capacity: 1, starts: [0, 7], window: 1 },
  { size: [1, 100, 2, 2, 16], capacity: 30, starts: [129], window: 30 },
  { size: [1, 5, 2, 2, 16], capacity: 30, starts: [20], window: 40 },
];

for (const { size, capacity, starts, window } of CACHED) {
  const what = window === undefined ? "" : `, window ${window}`;
  kernelTest(`cached attention [${size}] from ${starts} in ${capacity}${what}`, () => {
    const p = problem(size, 0, 1, window);
    const { keys, values: cachedValues } = caches(p, capacity, starts);
    const [batch, , , kvHeads, width] = size;
    const cacheShape = [batch, kvHeads, capacity, width];
    const expected = reference.cachedAttention([
      ...values(p),
      { shape: cacheShape, data: Float64Array.from(keys) },
      { shape: cacheShape, data: Float64Array.from(cachedValues) },
      { shape: [batch], data: Float64Array.from(starts) },
    ], p.shape);
    const found = cached(p, capacity, starts);
    assertClose("output", found[0], expected[0], TOLERANCE);
    assertEquals(found[1], Float32Array.from(expected[1]));
    assertEquals(found[2], Float32Array.from(expected[2]));
    assertEquals(cached(p, capacity, starts, 1), found);
  });
}

kernelTest("cached attention of layout 2", () => {
  const p = problem([2, 9, 4, 2, 8], 2);
  const { keys, values: cachedValues } = caches(p, 40, [31, 2]);
  const cacheShape = [2, 2, 40, 8];
  const [expected] = reference.cachedAttention([
    ...values(p),
    { shape: cacheShape, data: Float64Array.from(keys) },
    { shape: cacheShape, data: Float64Array.from(cachedValues) },
    { shape: [2], data: Float64Array.of(31, 2) },
  ], p.shape);
  assertClose("output", cached(p, 40, [31, 2])[0], expected, TOLERANCE);
});

kernelTest("cached attention does not write outside its cache", () => {
  const p = problem([1, 2, 1, 1, 8]);
  for (const start of [-5, 7, 2 ** 30, -(2 ** 31)]) {
    // Moved to where there is room: row 0, or the last two of 8.
    const [, keys] = cached(p, 8, [start]);
    const at = start < 0 ? 0 : 6;
    assertEquals(keys.slice(at * 8, at * 8 + 16), p.k.slice(0, 16));
  }
});
