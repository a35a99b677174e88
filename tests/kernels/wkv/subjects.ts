/** The kernels of the recurrences under test, the problems they are given, and how they are run. */

import { contiguousLayout, type Kernel, type OperandLayout } from "../../../kernels/kernel.ts";
import type { Value } from "../../../kernels/reference/value.ts";
import * as reference6 from "../../../kernels/reference/wkv6.ts";
import * as reference7 from "../../../kernels/reference/wkv7.ts";
import { wkv6In, type Wkv6Shape } from "../../../kernels/wkv/wkv6.ts";
import { wkv6Gradient } from "../../../kernels/wkv/wkv6_gradient.ts";
import { wkv7, type Wkv7Shape } from "../../../kernels/wkv/wkv7.ts";
import { wkv7Gradient } from "../../../kernels/wkv/wkv7_gradient.ts";
import { gather, headLayouts, reach } from "../../support/layouts.ts";
import { arena, compile } from "../../support/kernels.ts";
import { random } from "../../support/random.ts";

export type Shape = readonly [number, number, number, number];
export type Layouts = Readonly<Record<string, OperandLayout>>;

/** What a kernel is made for. */
interface KernelShape {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly width: number;
  readonly inputs: Layouts;
}

/** A recurrence under test. */
export interface Subject {
  readonly name: string;
  readonly inputs: readonly string[];
  /** Its forward kernel, in every form that it has; the first takes chunks. */
  readonly forms: readonly ((shape: KernelShape & { keepStates: boolean }) => Kernel)[];
  readonly gradient: (shape: KernelShape & { dy?: OperandLayout }) => Kernel;
  readonly reference: (inputs: readonly Value[]) => Float64Array[];
  readonly referenceGradient: (inputs: readonly Value[]) => Float64Array[];
}

export const SUBJECTS: readonly Subject[] = [
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

export const DECAYS: Readonly<Record<string, Decay>> = {
  "anywhere": (uniform) => uniform(0, 1),
  "0 or 1": (_, index) => index % 3 === 0 ? 0 : 1,
  "near 1": (uniform) => uniform(1 - 1e-6, 1),
  "at RAD-RWKV6's clamp": () => Math.exp(-5),
};

export interface Problem {
  readonly shape: Shape;
  readonly layouts: Layouts;
  readonly dyLayout: OperandLayout;
  /** In memory, as `layouts` say. */
  readonly data: readonly Float32Array[];
  readonly state: Float32Array;
  readonly dy: Float32Array;
  readonly dState: Float32Array;
}

export function problem(
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
export function values({ inputs }: Subject, { shape, layouts, data, state }: Problem): Value[] {
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
export function forward(
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
export function backward(
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

/** Layouts of row-major inputs. */
export const contiguous = ({ inputs }: Subject, shape: Shape): Layouts =>
  Object.fromEntries(inputs.map((name) => [name, contiguousLayout(shape)]));
