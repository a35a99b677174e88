import { assertEquals, assertThrows } from "@std/assert";
import { attention } from "../../../kernels/attention/attention.ts";
import { attentionGradient } from "../../../kernels/attention/gradient.ts";
import { cachedAttention } from "../../../kernels/attention/cached.ts";
import { contiguousLayout, type OperandLayout } from "../../../kernels/kernel.ts";
import * as reference from "../../../kernels/reference/attention.ts";
import { assertClose } from "../../support/compare.ts";
import { arena, compile, kernelTest } from "../../support/kernels.ts";
import { gather, reach } from "../../support/layouts.ts";
import { random } from "../../support/random.ts";
import { readTensors } from "../../support/safetensors.ts";
import { sharedPath } from "../../support/shared.ts";
import { type Problem, problem, runAll, type Size, TOLERANCE, values } from "./problem.ts";

function forward({ shape, q, k, v }: Problem, itemsAtOnce?: number): Float32Array[] {
  const kernel = attention(shape);
  const memory = arena(1 << 22);
  const { batch, time, heads, width } = shape;
  const sizes = [batch * time * heads * width, batch * heads * time];
  const operands = [...[q, k, v].map((x) => memory.place(x)), ...sizes.map(memory.room)];
  const run = compile(kernel, memory);
  runAll(kernel, itemsAtOnce ?? kernel.items, (begin, end) => run(operands, begin, end));
  return sizes.map((size, i) => memory.read(operands[3 + i], size));
}

function backward(
  { shape, q, k, v }: Problem,
  given: readonly ArrayLike<number>[],
  dOutput: OperandLayout,
  itemsAtOnce?: number,
): Float32Array[] {
  const kernel = attentionGradient({ ...shape, dOutput });
  const memory = arena(1 << 22);
  const { batch, time, heads, kvHeads, width } = shape;
  const sizes = [heads, kvHeads, kvHeads].map((n) => batch * time * n * width);
  const inputs = [q, k, v, ...given].map((x) => memory.place(x));
  const operands = [...inputs, ...sizes.map(memory.room)];
  const run = compile(kernel, memory);
  runAll(kernel, itemsAtOnce ?? kernel.items, (begin, end) => run(operands, begin, end));
  return sizes.map((size, i) => memory.read(operands[6 + i], size));
}

function check(p: Problem): void {
  const given = values(p);
  const [output, norms] = reference.attention(...given, p.shape);
  const found = forward(p);
  assertClose("output", found[0], output, TOLERANCE);
  assertClose("log-sum-exp", found[1], norms, TOLERANCE);
  const source = random(5);
  const dOutput = new Float32Array(reach(p.shape.q)).map(() => source.uniform(-1, 1));
  const { batch, heads, time } = p.shape;
  const whole = [
    ...given,
    { shape: given[0].shape, data: output },
    { shape: [batch, heads, time], data: norms },
    { shape: given[0].shape, data: gather(dOutput, p.shape.q) },
  ];
  const expected = reference.attentionGradient(whole, p.shape);
  // With one key there is nothing to weigh: all but dv is 0, up to the rounding of do·v.
  const size = time === 1 || p.shape.window === 1 ? 1 : 0;
  backward(p, [output, norms, dOutput], p.shape.q).forEach((gradient, i) => {
    assertClose(["dq", "dk", "dv"][i], [...gradient, size], [...expected[i], size], TOLERANCE);
  });
}

const SIZES: readonly Size[] = [
  [1, 1, 1, 1, 8],
  [2, 5, 3, 1, 12],
  [1, 6, 2, 2, 8],
  [1, 8, 4, 2, 16],
  [2, 33, 4, 2, 20],
  [1, 48, 2, 1, 24],
  [1, 97, 2, 1, 64],
  [1, 130, 1, 1, 32],
  [1, 55, 2, 1, 128],
  [1, 200, 1, 1, 8],
];

for (const size of SIZES) {
  kernelTest(`attention [${size}] and its gradient agree with f64 loops`, () => {
    check(problem(size));
  });
}

// Windows of one key, within a tile, a block and beyond, of sizes that divide nothing.
for (
  const [size, window] of [
    [[1, 1, 1, 1, 8], 1],
    [[2, 33, 4, 2, 20], 1],
    [[1, 48, 2, 1, 24], 6],
    [[1, 97, 2, 1, 64], 7],
    [[1, 130, 2, 1, 32], 8],
    [[1, 200, 1, 1, 8], 9],
    [[1, 230, 2, 1, 128], 47],
    [[1, 200, 1, 1, 16], 95],
    [[1, 300, 1, 1, 8], 100],
    [[1, 55, 2, 1, 128], 54],
    [[1, 20, 2, 2, 8], 500],
  ] as ReadonlyArray<readonly [Size, number]>
) {
  kernelTest(
    `attention [${size}] of window ${window} and its gradient agree with f64 loops`,
    () => {
      check(problem(size, 0, 1, window));
    },
  );
}

kernelTest("attention with a window over everything is the one without, to the bit", () => {
  const p = problem([1, 70, 2, 1, 12]);
  const all = problem([1, 70, 2, 1, 12], 0, 1, 70);
  const [output, norms] = forward(p);
  assertEquals(forward(all), [output, norms]);
  const given = [output, norms, output];
  assertEquals(backward(all, given, p.shape.q), backward(p, given, p.shape.q));
});

kernelTest("attention with a window costs the pairs that it sees", () => {
  const { shape } = problem([1, 100, 2, 1, 8]);
  const pairs = 100 * 101 / 2;
  assertEquals(attention(shape).flops, 4 * 2 * 8 * pairs);
  assertEquals(attentionGradient(shape).flops, 10 * 2 * 8 * pairs);
  const windowed = 10 * 11 / 2 + 90 * 10;
  assertEquals(attention({ ...shape, window: 10 }).flops, 4 * 2 * 8 * windowed);
  assertEquals(attentionGradient({ ...shape, window: 10 }).flops, 10 * 2 * 8 * windowed);
  assertEquals(cachedAttention({ ...shape, window: 10, capacity: 10 }).flops, 4 * 2 * 8 * 1000);
});

for (const layout of [1, 2]) {
  kernelTest(`attention of layout ${layout} and its gradient`, () => {
    check(problem([2, 19, 4, 2, 12], layout));
  });
}

kernelTest("attention with scores of hundreds neither overflows nor loses its largest", () => {
  const p = problem([1, 60, 2, 1, 16], 0, 30);
  const [output, norms] = reference.attention(...values(p), p.shape);
  const found = forward(p);
  // A score of some hundreds is known to 2^-24 of itself, and so is the logarithm of a weight.
  assertClose("output", found[0], output, 1e-4);
  assertClose("log-sum-exp", found[1], norms, 1e-6);
});

kernelTest("attention gives the same bits however its items are divided", () => {
  const p = problem([2, 70, 4, 2, 12]);
  const [output, norms] = forward(p);
  assertEquals(forward(p, 1), [output, norms]);
  assertEquals(forward(p, 3), [output, norms]);
  const given = [output, norms, output];
  assertEquals(backward(p, given, p.shape.q, 1), backward(p, given, p.shape.q));
});

kernelTest("attention's gradient is the slope of its output", () => {
  const p = problem([1, 7, 2, 1, 8]);
  const given = values(p);
  const source = random(9);
  const dOutput = new Float32Array(given[0].data.length).map(() => source.uniform(-1, 1));
  const [output, norms] = forward(p);
  const gradients = backward(p, [output, norms, dOutput], p.shape.q);
  given.forEach((value, i) => {
    const slope = value.data.map((x, j) => {
      const [above, below] = [1e-4, -1e-4].map((by) => {
        const moved = given.with(i, { shape: value.shape, data: value.data.with(j, x + by) });
        const [y] = reference.attention(moved[0], moved[1], moved[2], p.shape);
        return y.reduce((sum, value, at) => sum + value * dOutput[at], 0);
      });
      return (above - below) / 2e-4;
    });
    assertClose(["dq", "dk", "dv"][i], gradients[i], slope, 1e-5);
  });
});

kernelTest("attention gives the golden attention's inner products", async () => {
  const golden = await readTensors(sharedPath("golden", "qwen2_attention.safetensors"));
  const [batch, time, channels] = golden["in.x"].shape;
  const [heads, kvHeads, width] = [4, 2, 8];
  const linear = (name: string, x: ArrayLike<number>, inputs: number): Float32Array => {
    const weight = golden[`param.${name}.weight`];
    const bias = golden[`param.${name}.bias`]?.data;
    const outputs = weight.shape[0];
    return new Float32Array(x.length / inputs * outputs).map((_, i) => {
      const [row, out] = [Math.floor(i / outputs), i % outputs];
      let sum = bias?.[out] ?? 0;
      for (let j = 0; j < inputs; j++) sum += x[row * inputs + j] * weight.data[out * inputs + j];
      return sum;
    });
  };
  const rotate = (x: Float32Array, count: number): Float32Array =>
    x.map((value, i) => {
      const n = i % width;
      const t = Math.floor(i / (count * width)) % time;
      const angle = t * 10000 ** (-2 * (n % (width / 2)) / width);
      const other = n < width / 2 ? -x[i + width / 2] : x[i - width / 2];
      return value * Math.cos(angle) + other * Math.sin(angle);
    });
  const x = golden["in.x"].data;
  const q = rotate(linear("q_proj", x, channels), heads);
  const k = rotate(linear("k_proj", x, channels), kvHeads);
  const kv = contiguousLayout([batch, time, kvHeads, width]);
  const shape = {
    ...{ batch, time, heads, kvHeads, width, scale: 1 / Math.sqrt(width) },
    ...{ q: contiguousLayout([batch, time, heads, width]), k: kv, v: kv },
  };
  const [output] = forward({ shape, q, k, v: linear("v_proj", x, channels) });
  assertClose("y", linear("o_proj", output, heads * width), golden["out.y"].data, 2e-6);
});

kernelTest("attention says what it cannot take", () => {
  const { shape } = problem([1, 2, 2, 2, 8]);
  assertThrows(() => attention({ ...shape, width: 6 }), Error, "found 6, 2 and 2");
  assertThrows(() => attentionGradient({ ...shape, heads: 3 }), Error, "found 8, 3 and 2");
  assertThrows(() => cachedAttention({ ...shape, capacity: 1 }), Error, "at most 1 tokens");
  const ring = { ...shape, window: 3 };
  assertThrows(() => cachedAttention({ ...ring, capacity: 4 }), Error, "at most 3 rows, found 4");
  assertThrows(() => attention({ ...shape, window: 0 }), Error, "1 key or more, found 0");
});
