import { assertEquals, assertThrows } from "@std/assert";
import { contiguousLayout, type Kernel, type OperandLayout } from "../../kernels/kernel.ts";
import type { Value } from "../../kernels/reference/value.ts";
import * as reference from "../../kernels/reference/wkv6.ts";
import { wkv6, wkv6In, type Wkv6Layouts } from "../../kernels/wkv6.ts";
import { wkv6Gradient } from "../../kernels/wkv6_gradient.ts";
import { assertClose } from "../support/compare.ts";
import { gather, headLayouts, reach } from "../support/layouts.ts";
import { random } from "../support/random.ts";
import { readTensors } from "../support/safetensors.ts";
import { sharedPath } from "../support/shared.ts";
import { arena, compile } from "../support/wasm.ts";

type Shape = readonly [number, number, number, number];

const NAMES = ["r", "w", "k", "v"] as const;

/** A decay for every element. */
type Decay = (uniform: (low: number, high: number) => number, index: number) => number;

const DECAYS: Readonly<Record<string, Decay>> = {
  "anywhere": (uniform) => uniform(0, 1),
  "0 or 1": (_, index) => index % 3 === 0 ? 0 : 1,
  "near 1": (uniform) => uniform(1 - 1e-6, 1),
  "at the clamp": () => Math.exp(-5),
};

interface Problem {
  readonly shape: Shape;
  readonly layouts: Wkv6Layouts;
  readonly dyLayout: OperandLayout;
  /** In memory, as `layouts` say. */
  readonly data: readonly Float32Array[];
  readonly state: Float32Array;
  readonly dy: Float32Array;
  readonly dState: Float32Array;
}

function problem(shape: Shape, { decay = "anywhere", layout = 0, groups = 1 } = {}): Problem {
  const [batch, , heads, width] = shape;
  const source = random(shape.reduce((sum, n) => sum * 131 + n, layout));
  const plain = headLayouts(shape)[layout];
  const grouped = headLayouts(shape, groups)[layout];
  const layouts = { r: plain, w: plain, k: grouped, v: grouped };
  const fill = (count: number, value: (i: number) => number) =>
    new Float32Array(count).map((_, i) => value(i));
  return {
    shape,
    layouts,
    dyLayout: plain,
    data: NAMES.map((name) =>
      fill(reach(layouts[name]), (i) => {
        return name === "w" ? DECAYS[decay](source.uniform, i) : source.uniform(-1, 1);
      })
    ),
    state: fill(batch * heads * width * width, () => source.uniform(-1, 1)),
    dy: fill(reach(plain), () => source.uniform(-1, 1)),
    dState: fill(batch * heads * width * width, () => source.uniform(-1, 1)),
  };
}

/** The problem as the reference takes it. */
function values({ shape, layouts, data, state }: Problem): Value[] {
  const [batch, , heads, width] = shape;
  return [
    ...NAMES.map((name, i) => ({ shape, data: gather(data[i], layouts[name]) })),
    { shape: [batch, heads, width, width], data: Float64Array.from(state) },
  ];
}

/** Cuts a kernel's items into ranges of so many. */
function runAll(kernel: Kernel, size: number, run: (begin: number, end: number) => void): void {
  for (let begin = 0; begin < kernel.items; begin += size) {
    run(begin, Math.min(begin + size, kernel.items));
  }
}

type Form = "recurrent" | "chunked";

function forward(
  p: Problem,
  keepStates: boolean,
  itemsAtOnce = Infinity,
  form: Form = "chunked",
): Float32Array[] {
  const [batch, time, heads, width] = p.shape;
  const kernel = wkv6In(form, { batch, time, heads, width, inputs: p.layouts, keepStates });
  const memory = arena(1 << 22);
  const elements = batch * heads * width * width;
  const sizes = [batch * time * heads * width, elements];
  if (keepStates) sizes.push(elements * Math.ceil(time / 16));
  const inputs = [...p.data, p.state].map((x) => memory.place(x));
  const outputs = sizes.map((size) => memory.room(size));
  const run = compile(kernel, memory);
  runAll(kernel, Math.min(itemsAtOnce, kernel.items), (begin, end) => {
    run([...inputs, ...outputs], begin, end);
  });
  return outputs.map((address, i) => memory.read(address, sizes[i]));
}

function backward(p: Problem, kept: Float32Array, itemsAtOnce = Infinity): Float32Array[] {
  const [batch, time, heads, width] = p.shape;
  const kernel = wkv6Gradient({
    ...{ batch, time, heads, width },
    inputs: p.layouts,
    dy: p.dyLayout,
  });
  const memory = arena(1 << 23);
  const inputs = [...p.data, kept, p.dy, p.dState].map((x) => memory.place(x));
  const sizes = [...NAMES.map(() => batch * time * heads * width), p.dState.length];
  const outputs = sizes.map((size) => memory.room(size));
  const run = compile(kernel, memory);
  runAll(kernel, Math.min(itemsAtOnce, kernel.items), (begin, end) => {
    run([...inputs, ...outputs], begin, end);
  });
  return outputs.map((address, i) => memory.read(address, sizes[i]));
}

/** Rounding of an f32 grows with the number of updates that a state sees; 1e-5 covers 70 tokens. */
const TOLERANCE = 1e-5;

function check(what: string, p: Problem): void {
  const given = values(p);
  const expected = reference.wkv6(given);
  for (const form of ["recurrent", "chunked"] as const) {
    const found = forward(p, true, Infinity, form);
    ["y", "state", "chunk states"].forEach((name, i) => {
      assertClose(`${what}, ${form}: ${name}`, found[i], expected[i], TOLERANCE);
    });
  }
  const [batch, time, heads, width] = p.shape;
  const shapes = [[batch, heads, Math.ceil(time / 16), width, width], p.shape];
  const gradients = reference.wkv6Gradient([
    ...given.slice(0, 4),
    { shape: shapes[0], data: expected[2] },
    { shape: shapes[1], data: gather(p.dy, p.dyLayout) },
    { shape: given[4].shape, data: Float64Array.from(p.dState) },
  ]);
  backward(p, Float32Array.from(expected[2])).forEach((gradient, i) => {
    assertClose(`${what}: d${NAMES[i] ?? "state"}`, gradient, gradients[i], TOLERANCE);
  });
}

const SHAPES: readonly Shape[] = [
  [1, 1, 1, 8],
  [2, 5, 3, 12],
  [1, 16, 2, 8],
  [2, 17, 2, 20],
  [1, 33, 2, 64],
  [1, 70, 1, 32],
  [1, 19, 1, 128],
];

for (const shape of SHAPES) {
  Deno.test(`wkv6 [${shape}] and its gradient agree with f64 loops`, () => {
    check(`[${shape}]`, problem(shape));
  });
}

for (const decay of ["0 or 1", "near 1", "at the clamp"]) {
  Deno.test(`wkv6 with decay ${decay}`, () => {
    check(decay, problem([1, 37, 2, 16], { decay }));
  });
}

for (const layout of [0, 1, 2]) {
  for (const groups of [1, 2]) {
    Deno.test(`wkv6 of layout ${layout} with heads in groups of ${groups}`, () => {
      check(`layout ${layout}`, problem([2, 18, 4, 8], { layout, groups }));
    });
  }
}

Deno.test("wkv6 gives the same bits however its items are divided", () => {
  for (const shape of [[1, 21, 3, 64], [3, 9, 2, 12]] as const) {
    const p = problem(shape);
    const [y, state, kept] = forward(p, true);
    for (const form of ["recurrent", "chunked"] as const) {
      const whole = forward(p, true, Infinity, form);
      assertEquals(forward(p, true, 1, form), whole);
      assertEquals(forward(p, false, 2, form), whole.slice(0, 2));
    }
    assertClose("y of both forms", forward(p, false, 1, "recurrent")[0], y, 1e-6);
    assertClose("state of both forms", forward(p, false, 1, "recurrent")[1], state, 1e-6);
    assertEquals(backward(p, kept, 1), backward(p, kept));
  }
});

Deno.test("wkv6 token by token gives what all tokens at once give", () => {
  const shape = [2, 20, 2, 64] as const;
  const p = problem(shape);
  const [y, state] = forward(p, false);
  const row = 2 * 64;
  const stepShape = [2, 1, 2, 64] as const;
  const layout = contiguousLayout(stepShape);
  const layouts = Object.fromEntries(NAMES.map((name) => [name, layout])) as unknown as Wkv6Layouts;
  let before = p.state;
  for (let t = 0; t < 20; t++) {
    const at = (x: Float32Array) =>
      new Float32Array([0, 1].flatMap((b) => [...x.subarray((b * 20 + t) * row).slice(0, row)]));
    const step = { ...p, shape: stepShape, layouts, data: p.data.map(at), state: before };
    const [yStep, after] = forward(step, false, Infinity, "recurrent");
    assertClose(`y at ${t}`, yStep, at(y), 1e-6);
    before = after;
  }
  assertClose("state", before, state, 1e-6);
});

Deno.test("wkv6 may update its state in place", () => {
  for (const form of ["recurrent", "chunked"] as const) {
    const p = problem([1, 3, 2, 16]);
    const shape = { batch: 1, time: 3, heads: 2, width: 16, inputs: p.layouts };
    const memory = arena(1 << 18);
    const inputs = [...p.data, p.state].map((x) => memory.place(x));
    const y = memory.room(96);
    const kernel = wkv6In(form, { ...shape, keepStates: false });
    compile(kernel, memory)([...inputs, y, inputs[4]]);
    const [expectedY, expectedState] = forward(p, false, Infinity, form);
    assertEquals(memory.read(y, 96), expectedY);
    assertEquals(memory.read(inputs[4], 512), expectedState);
  }
});

Deno.test("wkv6 and its gradient give the golden values", async () => {
  const golden = await readTensors(sharedPath("golden", "wkv6.safetensors"));
  const shape = golden["in.r"].shape as unknown as Shape;
  const layout = contiguousLayout(shape);
  const layouts = Object.fromEntries(NAMES.map((name) => [name, layout])) as unknown as Wkv6Layouts;
  const p: Problem = {
    ...{ shape, layouts, dyLayout: layout },
    data: NAMES.map((name) => golden[`in.${name}`].data),
    state: golden["in.state"].data,
    dy: golden["cotangent.y"].data,
    dState: golden["cotangent.state"].data,
  };
  const [y, state, kept] = forward(p, true);
  assertClose("y", y, golden["out.y"].data, 1e-6);
  assertClose("state", state, golden["out.state"].data, 1e-6);
  backward(p, kept).forEach((gradient, i) => {
    const name = NAMES[i] ?? "state";
    assertClose(`d${name}`, gradient, golden[`grad.in.${name}`].data, 1e-6);
  });
});

Deno.test("wkv6's gradient is the slope of its output", () => {
  const shape = [1, 5, 1, 8] as const;
  const p = problem(shape);
  const given = values(p);
  const loss = (moved: readonly Value[]): number => {
    const [y, state] = reference.wkv6(moved);
    return y.reduce((sum, x, i) => sum + x * p.dy[i], 0) +
      state.reduce((sum, x, i) => sum + x * p.dState[i], 0);
  };
  const gradients = backward(p, forward(p, true)[2]);
  given.forEach((value, i) => {
    const slope = value.data.map((x, j) => {
      const sides = [1e-4, -1e-4].map((by) => {
        const data = value.data.with(j, x + by);
        return loss(given.with(i, { shape: value.shape, data }));
      });
      return (sides[0] - sides[1]) / 2e-4;
    });
    assertClose(`d${NAMES[i] ?? "state"}`, gradients[i], slope, 1e-5);
  });
});

Deno.test("wkv6 says what it cannot take", () => {
  const layout = contiguousLayout([1, 2, 1, 6]);
  const inputs = Object.fromEntries(NAMES.map((name) => [name, layout])) as unknown as Wkv6Layouts;
  const shape = { batch: 1, time: 2, heads: 1, width: 6, inputs };
  assertThrows(() => wkv6({ ...shape, keepStates: false }), Error, "found 6");
  assertThrows(() => wkv6Gradient(shape), Error, "found 6");
});
