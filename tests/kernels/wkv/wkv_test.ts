/** The kernels of the recurrences, forward in each of their forms and backward, against f64 loops. */

import { assertEquals, assertThrows } from "@std/assert";
import { contiguousLayout } from "../../../kernels/kernel.ts";
import type { Value } from "../../../kernels/reference/value.ts";
import { wkv6, type Wkv6Shape } from "../../../kernels/wkv/wkv6.ts";
import { assertClose } from "../../support/compare.ts";
import { arena, compile, kernelTest } from "../../support/kernels.ts";
import { gather } from "../../support/layouts.ts";
import { readTensors } from "../../support/safetensors.ts";
import { sharedPath } from "../../support/shared.ts";
import {
  backward,
  contiguous,
  DECAYS,
  forward,
  type Problem,
  problem,
  type Shape,
  type Subject,
  SUBJECTS,
  values,
} from "./subjects.ts";

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
