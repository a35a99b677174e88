import { assert, assertEquals } from "@std/assert";
import { type Block, kernel } from "../../../kernels/language/block.ts";
import { i32, load, mul, offset } from "../../../kernels/language/language.ts";
import type { Expr, Vector } from "../../../kernels/language/syntax.ts";
import { exp, exp2, log, sigmoid, tanh } from "../../../kernels/language/math.ts";
import { arena, compile, kernelTest, targetLanes } from "../../support/kernels.ts";

type Real = "f32" | Vector;
/** Numbers one by one, or by vectors of as many lanes as the target has. */
type Kind = "f32" | "vectors";

interface Case {
  readonly name: string;
  readonly kernel: <T extends Real>(x: Expr<T>, k: Block) => Expr<T>;
  readonly exact: (x: number) => number;
  /** Results below this may be 0. */
  readonly floor: number;
  /** Largest error in units of the last place. */
  readonly ulps: number;
}

const CASES: readonly Case[] = [
  { name: "exp", kernel: exp, exact: Math.exp, floor: 1.7e-38, ulps: 2 },
  { name: "exp2", kernel: exp2, exact: (x) => 2 ** x, floor: 1.7e-38, ulps: 2 },
  { name: "log", kernel: log, exact: Math.log, floor: 0, ulps: 2 },
  { name: "tanh", kernel: tanh, exact: Math.tanh, floor: 0, ulps: 2 },
  {
    name: "sigmoid",
    kernel: sigmoid,
    exact: (x) => 1 / (1 + Math.exp(-x)),
    floor: 1.7e-38,
    ulps: 2.5,
  },
];

/** A function of `count` numbers, by vectors or one by one. */
function run(count: number, values: Float32Array, test: Case, kind: Kind): Float32Array {
  const memory = arena(count * 8 + 4096);
  const code = kernel("math", { x: "ptr", y: "ptr", scratch: "ptr", begin: "i32", end: "i32" }, (
    k,
    { x, y, begin, end },
  ) => {
    const type = kind === "f32" ? "f32" : k.vector;
    k.for(begin, end, kind === "f32" ? 1 : k.lanes, (i) => {
      const at = k.let(mul(i, i32(4)));
      k.store(test.kernel(k.let(load<Real>(type, offset(x, at))), k), offset(y, at));
    });
  }, targetLanes());
  const describe = { key: "math", scratchBytes: 0, flops: 0, bytes: 0, items: count };
  const [x, y] = [memory.place(values), memory.room(count)];
  compile({ ...describe, code: () => code }, memory)([x, y]);
  return memory.read(y, count);
}

/** Distance in units of the last place of the expected f32. */
function ulps(found: number, expected: number): number {
  if (Object.is(found, expected) || found === Math.fround(expected)) return 0;
  const size = Math.min(Math.max(Math.abs(expected), 2 ** -126), (2 - 2 ** -23) * 2 ** 127);
  return Math.abs(found - expected) / 2 ** (Math.floor(Math.log2(size)) - 23);
}

for (const test of CASES) {
  for (const kind of ["f32", "vectors"] as const) {
    kernelTest(`${test.name} of ${kind} is within ${test.ulps} ulp everywhere`, () => {
      // Every 4,099th bit pattern, which passes all exponents, and a dense ordinary range.
      const bits = new Uint32Array(2 ** 32 / 4099 & ~15).map((_, i) => i * 4099);
      const dense = new Float32Array(1 << 20).map((_, i) => (i - (1 << 19)) * (110 / (1 << 19)));
      for (const values of [new Float32Array(bits.buffer), dense]) {
        const found = run(values.length, values, test, kind);
        let worst = 0;
        let at = 0;
        values.forEach((x, i) => {
          const expected = test.exact(x);
          if (found[i] === 0 && Math.abs(expected) < test.floor) return;
          const error = Number.isNaN(expected) === Number.isNaN(found[i])
            ? Number.isNaN(expected) ? 0 : ulps(found[i], expected)
            : Infinity;
          if (!(error <= worst)) [worst, at] = [error, i];
        });
        assert(worst <= test.ulps, `${test.name}(${values[at]}) = ${found[at]}, ${worst} ulp off`);
      }
    });

    kernelTest(`${test.name} of ${kind} at the ends of its range`, () => {
      const values = new Float32Array([
        ...[Infinity, -Infinity, NaN, 0, -0, 1e30, -1e30, 1e-45],
        ...[Infinity, -Infinity, NaN, 0, -0, 1e30, -1e30, 1e-45],
      ]);
      const found = run(values.length, values, test, kind);
      assertEquals(found.map((y) => y + 0), values.map((x) => test.exact(x) + 0));
    });
  }
}
