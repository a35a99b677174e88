/** The kernels of the recurrences, forward in each of their forms and backward, against f64 loops. */

import { assertEquals, assertThrows } from "@std/assert";
import { contiguousLayout, type Kernel, type OperandLayout } from "../../kernels/kernel.ts";
import type { Value } from "../../kernels/reference/value.ts";
import * as reference6 from "../../kernels/reference/wkv6.ts";
import * as reference7 from "../../kernels/reference/wkv7.ts";
import { wkv6, wkv6In, type Wkv6Shape } from "../../kernels/wkv6.ts";
import { wkv6Gradient } from "../../kernels/wkv6_gradient.ts";
import { wkv7, type Wkv7Shape } from "../../kernels/wkv7.ts";
import { wkv7Gradient } from "../../kernels/wkv7_gradient.ts";
import { assertClose } from "../support/compare.ts";
import { gather, headLayouts, reach } from "../support/layouts.ts";
import { random } from "../support/random.ts";
import { readTensors } from "../support/safetensors.ts";
import { sharedPath } from "../support/shared.ts";
import { arena, compile, kernelTest } from "../support/kernels.ts";

type Shape = readonly [number, number, number, number];
type Layouts = Readonly<Record<string, OperandLayout>>;

/** What a kernel is made for. */
interface KernelShape {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly width: number;
  readonly inputs: Layouts;
}

/** A recurrence under test. */
interface Subject {
  readonly name: string;
  readonly inputs: readonly string[];
  /** Its forward kernel, in every form that it has; the first takes chunks. */
  readonly forms: readonly ((shape: KernelShape & { keepStates: boolean }) => Kernel)[];
  readonly gradient: (shape: KernelShape & { dy?: OperandLayout }) => Kernel;
  readonly reference: (inputs: readonly Value[]) => Float64Array[];
  readonly referenceGradient: (inputs: readonly Value[]) => Float64Array[];
}

const SUBJECTS: readonly Subject[] = [
  {
    name: "wkv6",
    inputs: ["r", "w", "k", "v"],
    forms: (["chunked", "recurrent"] as const).map((form) => (shape) =>
      wkv6In(form, { ...shape, inputs: shape.inputs as Wkv6Shape["inputs"] })
    ),
    gradient: (shape) => wkv6Gradient({ ...shape, inputs: shape.inputs as Wkv6Shape["inputs"] }),
    reference: reference6.wkv6,
    referenceGradient: reference6.wkv6Gradient,
  },
  {
    name: "wkv7",
    inputs: ["r", "w", "k", "v", "kappa", "a"],
    forms: [(shape) => wkv7({ ...shape, inputs: shape.inputs as Wkv7Shape["inputs"] })],
    gradient: (shape) => wkv7Gradient({ ...shape, inputs: shape.inputs as Wkv7Shape["inputs"] }),
    reference: reference7.wkv7,
    referenceGradient: reference7.wkv7Gradient,
  },
];

/** A decay for every element. */
type Decay = (uniform: (low: number, high: number) => number, index: number) => number;

const DECAYS: Readonly<Record<string, Decay>> = {
  "anywhere": (uniform) => uniform(0, 1),
  "0 or 1": (_, index) => index % 3 === 0 ? 0 : 1,
  "near 1": (uniform) => uniform(1 - 1e-6, 1),
  "at RAD-RWKV6's clamp": () => Math.exp(-5),
};

interface Problem {
  readonly shape: Shape;
  readonly layouts: Layouts;
  readonly dyLayout: OperandLayout;
  /** In memory, as `layouts` say. */
  readonly data: readonly Float32Array[];
  readonly state: Float32Array;
  readonly dy: Float32Array;
  readonly dState: Float32Array;
}

function problem(
  { inputs }: Subject,
  shape: Shape,
  { decay = "anywhere", layout = 0, groups = 1 } = {},
): Problem {
  const [batch, , heads, width] = shape;
  const source = random(shape.reduce((sum, n) => sum * 131 + n, layout));
  const plain = headLayouts(shape)[layout];
  const grouped = headLayouts(shape, groups)[layout];
  const layouts = Object.fromEntries(
    inputs.map((name) => [name, ["k", "v", "kappa"].includes(name) ? grouped : plain]),
  );
  const fill = (count: number, value: (i: number) => number) =>
    new Float32Array(count).map((_, i) => value(i));
  const scale = Math.sqrt(1 / width);
  return {
    shape,
    layouts,
    dyLayout: plain,
    data: inputs.map((name) =>
      fill(reach(layouts[name]), (i) => {
        if (name === "w") return DECAYS[decay](source.uniform, i);
        if (name === "a") return source.uniform(0, 1);
        return source.uniform(-1, 1) * (name === "kappa" ? scale : 1);
      })
    ),
    state: fill(batch * heads * width * width, () => source.uniform(-1, 1)),
    dy: fill(reach(plain), () => source.uniform(-1, 1)),
    dState: fill(batch * heads * width * width, () => source.uniform(-1, 1)),
  };
}

/** The problem as the reference takes it. */
function values({ inputs }: Subject, { shape, layouts, data, state }: Problem): Value[] {
  const [batch, , heads, width] = shape;
  return [
    ...inputs.map((name, i) => ({ shape, data: gather(data[i], layouts[name]) })),
    { shape: [batch, heads, width, width], data: Float64Array.from(state) },
  ];
}

/** Cuts a kernel's items into ranges of so many. */
function runAll(kernel: Kernel, size: number, run: (begin: number, end: number) => void): void {
  for (let begin = 0; begin < kernel.items; begin += size) {
    run(begin, Math.min(begin + size, kernel.items));
  }
}

/** y, the last state and, where they are kept, the states before every chunk. */
function forward(
  { forms }: Subject,
  p: Problem,
  { keepStates = true, itemsAtOnce = Infinity, form = 0 } = {},
): Float32Array[] {
  const [batch, time, heads, width] = p.shape;
  const kernel = forms[form]({ batch, time, heads, width, inputs: p.layouts, keepStates });
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

/** The gradients of the inputs and of the state. */
function backward(
  { gradient, inputs: names }: Subject,
  p: Problem,
  kept: Float32Array,
  itemsAtOnce = Infinity,
): Float32Array[] {
  const [batch, time, heads, width] = p.shape;
  const kernel = gradient({
    ...{ batch, time, heads, width },
    inputs: p.layouts,
    dy: p.dyLayout,
  });
  const memory = arena(1 << 23);
  const inputs = [...p.data, kept, p.dy, p.dState].map((x) => memory.place(x));
  const sizes = [...names.map(() => batch * time * heads * width), p.dState.length];
  const outputs = sizes.map((size) => memory.room(size));
  const run = compile(kernel, memory);
  runAll(kernel, Math.min(itemsAtOnce, kernel.items), (begin, end) => {
    run([...inputs, ...outputs], begin, end);
  });
  return outputs.map((address, i) => memory.read(address, sizes[i]));
}

/** Rounding of an f32 grows with the number of updates that a state sees; 1e-5 covers 70 tokens. */
const TOLERANCE = 1e-5;

function check(subject: Subject, what: string, p: Problem): void {
  const given = values(subject, p);
  const expected = subject.reference(given);
  subject.forms.forEach((_, form) => {
    const found = forward(subject, p, { form });
    ["y", "state", "chunk states"].forEach((name, i) => {
      assertClose(`${what}, form ${form}: ${name}`, found[i], expected[i], TOLERANCE);
    });
  });
  const [batch, time, heads, width] = p.shape;
  const state = given[given.length - 1];
  const gradients = subject.referenceGradient([
    ...given.slice(0, -1),
    { shape: [batch, heads, Math.ceil(time / 16), width, width], data: expected[2] },
    { shape: p.shape, data: gather(p.dy, p.dyLayout) },
    { shape: state.shape, data: Float64Array.from(p.dState) },
  ]);
  backward(subject, p, Float32Array.from(expected[2])).forEach((gradient, i) => {
    const name = subject.inputs[i] ?? "state";
    assertClose(`${what}: d${name}`, gradient, gradients[i], TOLERANCE);
  });
}

/** Layouts of row-major inputs. */
const contiguous = ({ inputs }: Subject, shape: Shape): Layouts =>
  Object.fromEntries(inputs.map((name) => [name, contiguousLayout(shape)]));

const SHAPES: readonly Shape[] = [
  [1, 1, 1, 8],
  [2, 5, 3, 12],
  [1, 16, 2, 8],
  [2, 17, 2, 20],
  [1, 33, 2, 64],
  [1, 70, 1, 32],
  [1, 19, 1, 128],
];

for (const subject of SUBJECTS) {
  const { name } = subject;

  for (const shape of SHAPES) {
    kernelTest(`${name} [${shape}] and its gradient agree with f64 loops`, () => {
      check(subject, `[${shape}]`, problem(subject, shape));
    });
  }

  for (const decay of Object.keys(DECAYS)) {
    kernelTest(`${name} with decay ${decay}`, () => {
      check(subject, decay, problem(subject, [1, 37, 2, 16], { decay }));
    });
  }

  for (const layout of [0, 1, 2]) {
    for (const groups of [1, 2]) {
      kernelTest(`${name} of layout ${layout} with heads in groups of ${groups}`, () => {
        const p = problem(subject, [2, 18, 4, 8], { layout, groups });
        check(subject, `layout ${layout}`, p);
      });
    }
  }

  kernelTest(`${name} gives the same bits however its items are divided`, () => {
    for (const shape of [[1, 21, 3, 64], [3, 9, 2, 12]] as const) {
      const p = problem(subject, shape);
      subject.forms.forEach((_, form) => {
        const whole = forward(subject, p, { form });
        assertEquals(forward(subject, p, { form, itemsAtOnce: 1 }), whole);
        const short = forward(subject, p, { form, itemsAtOnce: 2, keepStates: false });
        assertEquals(short, whole.slice(0, 2));
      });
      const [, , kept] = forward(subject, p);
      assertEquals(backward(subject, p, kept, 1), backward(subject, p, kept));
    }
  });

  kernelTest(`${name} token by token gives what all tokens at once give`, () => {
    const shape = [2, 20, 2, 64] as const;
    const p = problem(subject, shape);
    const [y, state] = forward(subject, p);
    const row = 2 * 64;
    const stepShape = [2, 1, 2, 64] as const;
    const form = subject.forms.length - 1;
    let before = p.state;
    for (let t = 0; t < 20; t++) {
      const at = (x: Float32Array) =>
        new Float32Array([0, 1].flatMap((b) => [...x.subarray((b * 20 + t) * row).slice(0, row)]));
      const layouts = contiguous(subject, stepShape);
      const step = { ...p, shape: stepShape, layouts, data: p.data.map(at), state: before };
      const [yStep, after] = forward(subject, step, { form, keepStates: false });
      assertClose(`y at ${t}`, yStep, at(y), 1e-6);
      before = after;
    }
    assertClose("state", before, state, 1e-6);
  });

  kernelTest(`${name} may update its state in place`, () => {
    subject.forms.forEach((make, form) => {
      const p = problem(subject, [1, 3, 2, 16]);
      const shape = { batch: 1, time: 3, heads: 2, width: 16, inputs: p.layouts };
      const memory = arena(1 << 18);
      const inputs = [...p.data, p.state].map((x) => memory.place(x));
      const state = inputs[inputs.length - 1];
      const y = memory.room(96);
      compile(make({ ...shape, keepStates: false }), memory)([...inputs, y, state]);
      const [expectedY, expectedState] = forward(subject, p, { form, keepStates: false });
      assertEquals(memory.read(y, 96), expectedY);
      assertEquals(memory.read(state, 512), expectedState);
    });
  });

  kernelTest(`${name} and its gradient give the golden values`, async () => {
    const golden = await readTensors(sharedPath("golden", `${name}.safetensors`));
    const shape = golden["in.r"].shape as unknown as Shape;
    const p: Problem = {
      ...{ shape, layouts: contiguous(subject, shape), dyLayout: contiguousLayout(shape) },
      data: subject.inputs.map((input) => golden[`in.${input}`].data),
      state: golden["in.state"].data,
      dy: golden["cotangent.y"].data,
      dState: golden["cotangent.state"].data,
    };
    const [y, state, kept] = forward(subject, p);
    assertClose("y", y, golden["out.y"].data, 1e-6);
    assertClose("state", state, golden["out.state"].data, 1e-6);
    backward(subject, p, kept).forEach((gradient, i) => {
      const input = subject.inputs[i] ?? "state";
      assertClose(`d${input}`, gradient, golden[`grad.in.${input}`].data, 1e-6);
    });
  });

  kernelTest(`${name}'s gradient is the slope of its output`, () => {
    const p = problem(subject, [1, 5, 1, 8]);
    const given = values(subject, p);
    const loss = (moved: readonly Value[]): number => {
      const [y, state] = subject.reference(moved);
      return y.reduce((sum, x, i) => sum + x * p.dy[i], 0) +
        state.reduce((sum, x, i) => sum + x * p.dState[i], 0);
    };
    const gradients = backward(subject, p, forward(subject, p)[2]);
    given.forEach((value, i) => {
      const slope = value.data.map((x, j) => {
        const sides = [1e-4, -1e-4].map((by) => {
          const data = value.data.with(j, x + by);
          return loss(given.with(i, { shape: value.shape, data }));
        });
        return (sides[0] - sides[1]) / 2e-4;
      });
      assertClose(`d${subject.inputs[i] ?? "state"}`, gradients[i], slope, 1e-5);
    });
  });

  kernelTest(`${name} says what it cannot take`, () => {
    const inputs = contiguous(subject, [1, 2, 1, 6]);
    const shape = { batch: 1, time: 2, heads: 1, width: 6, inputs };
    for (const form of subject.forms) {
      assertThrows(() => form({ ...shape, keepStates: false }), Error, "found 6");
    }
    assertThrows(() => subject.gradient(shape), Error, "found 6");
  });
}

kernelTest("wkv6 takes few tokens one by one, and more of them by chunks", () => {
  const keyOf = (time: number) => {
    const inputs = contiguous(SUBJECTS[0], [1, time, 1, 8]) as Wkv6Shape["inputs"];
    return wkv6({ ...{ batch: 1, time, heads: 1, width: 8 }, inputs, keepStates: false }).key;
  };
  const forms = [1, 8, 9, 128].map((time) => keyOf(time).split(" ")[1]);
  assertEquals(forms, ["recurrent", "recurrent", "chunked", "chunked"]);
});
