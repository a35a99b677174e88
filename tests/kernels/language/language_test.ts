import { assertEquals } from "@std/assert";
import { type Block, kernel } from "../../../kernels/language/block.ts";
import {
  add,
  bitAnd,
  div,
  equal,
  half,
  i32,
  lane,
  lessThan,
  load,
  max,
  min,
  mul,
  offset,
  rem,
  select,
  shuffle,
  sub,
  toF32,
  toI32,
} from "../../../kernels/language/language.ts";
import type { Expr, KernelCode, Pick4 } from "../../../kernels/language/syntax.ts";
import { type Arena, arena, compile, kernelTest, targetLanes } from "../../support/kernels.ts";

/** Runs code of one operand for items 0 … count−1 and reads so many words. */
function run(
  memory: Arena,
  operand: number,
  count: number,
  write: (k: Block, at: Expr<"ptr">, item: Expr<"i32">) => void,
): void {
  const code = (): KernelCode =>
    kernel("test", { x: "ptr", scratch: "ptr", begin: "i32", end: "i32" }, (k, args) => {
      k.for(args.begin, args.end, 1, (item) => write(k, args.x, item));
    }, targetLanes());
  compile({ key: "test", code, items: count, scratchBytes: 0, flops: 0, bytes: 0 }, memory)([
    operand,
  ]);
}

const words = (floats: Float32Array) => [...new Int32Array(floats.buffer)];

kernelTest("division and remainder by constants", () => {
  const divisors = [1, 2, 3, 5, 6, 7, 10, 12, 48, 100, 641, 1000, 65536, 65537, 2 ** 31 - 1];
  const values = [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 47, 48, 99, 640, 641, 65535, 65537, 123456789]
    .concat([2 ** 30, 2 ** 31 - 3, 2 ** 31 - 2, 2 ** 31 - 1]);
  for (const divisor of divisors) {
    const memory = arena(4096);
    const at = memory.place([...values, ...values], "i32");
    run(memory, at, values.length, (k, x, item) => {
      const place = k.let(offset(x, mul(item, i32(4))));
      const value = k.let(load("i32", place));
      k.store(div(value, i32(divisor)), place);
      k.store(rem(value, i32(divisor)), place, 4 * values.length);
    });
    const expected = [
      ...values.map((value) => Math.floor(value / divisor)),
      ...values.map((value) => value % divisor),
    ];
    assertEquals(words(memory.read(at, 2 * values.length)), expected, `by ${divisor}`);
  }
});

kernelTest("comparisons, choices and conversions of indices", () => {
  const memory = arena(4096);
  const values = [-7, -1, 0, 1, 2, 3, 4, 100];
  const at = memory.place(values.concat(new Array(8 * values.length).fill(0)), "i32");
  run(memory, at, values.length, (k, x, item) => {
    const place = k.let(offset(x, mul(item, i32(4))));
    const value = k.let(load("i32", place));
    const three = k.let(add(bitAnd(value, i32(0)), i32(3)));
    const results = [
      min(value, three),
      max(value, three),
      select(lessThan(value, three), sub(three, value), mul(value, i32(24))),
      equal(equal(value, three), i32(0)),
      select(lessThan(toF32(value), toF32(three)), i32(5), i32(6)),
      toI32(select<"f32">(equal(value, three), toF32(value), toF32(i32(-2)))),
      bitAnd(lessThan(i32(-1), value), lessThan(value, three)),
    ];
    results.forEach((result, i) => k.store(result, place, 4 * values.length * (i + 1)));
  });
  const rules: ((value: number) => number)[] = [
    (v) => Math.min(v, 3),
    (v) => Math.max(v, 3),
    (v) => v < 3 ? 3 - v : 24 * v,
    (v) => v === 3 ? 0 : 1,
    (v) => v < 3 ? 5 : 6,
    (v) => v === 3 ? 3 : -2,
    (v) => v > -1 && v < 3 ? 1 : 0,
  ];
  const found = words(memory.read(at, (rules.length + 1) * values.length)).slice(values.length);
  assertEquals(found, rules.flatMap((rule) => values.map(rule)));
});

kernelTest("copies and zeros of every size write what they should and nothing else", () => {
  for (const elements of [0, 1, 3, 4, 5, 15, 16, 17, 63, 64, 129, 200, 321]) {
    for (const isKnown of [true, false]) {
      const memory = arena(3 * 4 * 400);
      const from = memory.place(Array.from({ length: 330 }, (_, i) => i + 1));
      const to = memory.place(new Array(330).fill(-1));
      const cleared = memory.place(new Array(330).fill(-1));
      run(memory, from, 1, (k, x, item) => {
        const bytes = isKnown ? i32(4 * elements) : k.let(mul(add(item, i32(elements)), i32(4)));
        k.copy(x, offset(x, to - from), bytes);
        k.zero(offset(x, cleared - from), bytes);
      });
      const indices = Array.from({ length: 330 }, (_, i) => i);
      assertEquals([...memory.read(to, 330)], indices.map((i) => i < elements ? i + 1 : -1));
      assertEquals([...memory.read(cleared, 330)], indices.map((i) => i < elements ? 0 : -1));
    }
  }
});

kernelTest("lanes, halves, and shuffles in every group of four", () => {
  const patterns: Pick4[] = [
    ...[[0, 4, 1, 5], [2, 6, 3, 7], [0, 1, 4, 5], [2, 3, 0, 1]] as const,
    ...[[5, 4, 7, 6], [0, 4, 4, 4], [1, 6, 3, 4], [4, 1, 2, 7]] as const,
  ];
  const lanes = targetLanes();
  const memory = arena(4096);
  const at = memory.place(Array.from({ length: 2 * lanes }, (_, i) => i));
  const out = memory.room(patterns.length * lanes + 2 * lanes);
  run(memory, at, 1, (k, x) => {
    const [a, b] = [0, k.vectorBytes].map((part) => k.let(load(k.vector, x, part)));
    const to = k.let(offset(x, out - at));
    patterns.forEach((pattern, i) => k.store(shuffle(a, b, pattern), to, i * k.vectorBytes));
    const after = patterns.length * k.vectorBytes;
    for (let i = 0; i < lanes; i++) k.store(lane(b, i), to, after + 4 * i);
    if (lanes > 4) k.store(half(b, 1), to, after + k.vectorBytes);
  });
  const ofGroup = (pattern: Pick4) =>
    Array.from({ length: lanes }, (_, i) => {
      const pick = pattern[i % 4];
      return i - i % 4 + pick % 4 + (pick >= 4 ? lanes : 0);
    });
  const second = Array.from({ length: lanes }, (_, i) => lanes + i);
  const expected = [...patterns.flatMap(ofGroup), ...second];
  if (lanes > 4) expected.push(...second.slice(lanes / 2));
  assertEquals([...memory.read(out, expected.length)], expected);
});
