import { assertAlmostEquals, assertEquals } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import { createStore, layoutOf } from "../../devices/store.ts";
import { createOptimizer, type OptimizerOptions } from "../../train/optimizer.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";
import { random } from "../support/random.ts";

type Values = Readonly<Record<string, readonly number[]>>;

/** One step: what it is given. */
interface Step {
  readonly learningRate: number;
  /** Of the tensors that are called mixers. */
  readonly mixerRate?: number;
  readonly gradients: Values;
}

/** What a step left behind. */
interface After {
  readonly norm: number;
  readonly weights: Values;
}

/** Takes steps on a device. */
async function onDevice(
  device: Device,
  shapes: Readonly<Record<string, readonly number[]>>,
  initial: Values,
  options: OptimizerOptions,
  steps: readonly Step[],
  isMixer?: (name: string) => boolean,
  pieceSize?: number,
): Promise<After[]> {
  const names = Object.keys(shapes);
  const layout = layoutOf(names.map((name) => ({ name, shape: shapes[name] })));
  const [weights, gradients] = [createStore(device, layout), createStore(device, layout)];
  for (const name of names) weights.write(name, Float32Array.from(initial[name]));
  const optimizer = createOptimizer(device, weights, gradients, options, isMixer, pieceSize);
  const after: After[] = [];
  for (const [step, { learningRate, mixerRate, gradients: given }] of steps.entries()) {
    for (const name of names) gradients.write(name, Float32Array.from(given[name]));
    const norm = await optimizer.step(step, learningRate, mixerRate);
    const read = names.map(async (name) => [name, [...await weights.read(name)]]);
    after.push({ norm, weights: Object.fromEntries(await Promise.all(read)) });
  }
  optimizer.free();
  [weights, gradients].forEach((store) => store.free());
  return after;
}

/** AdamW by the formulas of Loshchilov and Hutter, in f64. */
function inF64(
  initial: Values,
  options: OptimizerOptions,
  steps: readonly Step[],
  isMixer: (name: string) => boolean = () => false,
): After[] {
  const { betas: [beta1, beta2], epsilon, weightDecay, clip } = options;
  const names = Object.keys(initial);
  const zeros = () => Object.fromEntries(names.map((name) => [name, initial[name].map(() => 0)]));
  const w = Object.fromEntries(names.map((name) => [name, [...initial[name]]]));
  const [m, v] = [zeros(), zeros()];
  return steps.map(({ learningRate, mixerRate = learningRate, gradients }, step) => {
    let squares = 0;
    for (const name of names) for (const g of gradients[name]) squares += g * g;
    const norm = Math.sqrt(squares);
    const scale = clip === 0 ? 1 : Math.min(1, clip / (norm + 1e-6));
    for (const name of names) {
      const rate = isMixer(name) ? mixerRate : learningRate;
      gradients[name].forEach((raw, i) => {
        const g = scale * raw;
        m[name][i] = beta1 * m[name][i] + (1 - beta1) * g;
        v[name][i] = beta2 * v[name][i] + (1 - beta2) * g * g;
        const mean = m[name][i] / (1 - beta1 ** (step + 1));
        const square = v[name][i] / (1 - beta2 ** (step + 1));
        w[name][i] -= rate * weightDecay * w[name][i];
        w[name][i] -= rate * mean / (Math.sqrt(square) + epsilon);
      });
    }
    return { norm, weights: structuredClone(w) };
  });
}

/** Weights near 1 are rounded twice a step, by 2^−24 each: by the decay and by the update. */
const tolerance = (steps: number) => 2 * steps * 2 ** -24;

function assertSame(found: readonly After[], expected: readonly After[]): void {
  assertEquals(found.length, expected.length);
  found.forEach(({ norm, weights }, step) => {
    assertAlmostEquals(norm, expected[step].norm, 1e-6 * expected[step].norm, `norm of ${step}`);
    for (const name of Object.keys(weights)) {
      const wanted = expected[step].weights[name];
      assertClose(`${name}, ${step}`, weights[name], wanted, tolerance(step + 1));
    }
  });
}

Deno.test("AdamW: weights and norms are PyTorch's, step by step", async () => {
  const path = new URL("./fixtures/adamw.json", import.meta.url);
  const { shapes, cases } = JSON.parse(await Deno.readTextFile(path));
  assertEquals(cases.length, 3);
  await withCpu({ threads: 1 }, async (device) => {
    for (const { options, initial, steps } of cases) {
      assertSame(await onDevice(device, shapes, initial, options, steps), steps);
    }
  });
});

const BASE: OptimizerOptions = { betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0, clip: 0 };

const SHAPES = { x: [40, 33], y: [5], z: [1] };

/** 20 steps with gradients of all sizes. */
function someSteps() {
  const source = random(3);
  const draw = (scale: number): Values =>
    Object.fromEntries(
      Object.entries(SHAPES).map(([key, shape]) => {
        const length = shape.reduce((a, b) => a * b);
        return [key, Array.from({ length }, () => source.uniform(-scale, scale))];
      }),
    );
  const initial = draw(1);
  const steps = Array.from({ length: 20 }, (_, step) => ({
    learningRate: 1e-3 * (step + 1),
    gradients: draw(step % 3 === 0 ? 1 : 0.01),
  }));
  return { initial, steps };
}

for (
  const [name, changes] of Object.entries({
    "without clipping": {},
    "clipped": { clip: 0.5 },
    "with weight decay": { weightDecay: 0.1 },
    "clipped, with weight decay and other betas": {
      clip: 2,
      weightDecay: 0.01,
      betas: [0.5, 0.9],
      epsilon: 0.01,
    },
  } as Record<string, Partial<OptimizerOptions>>)
) {
  Deno.test(`AdamW ${name}: plain loops in f64 over 20 steps`, async () => {
    const { initial, steps } = someSteps();
    const options = { ...BASE, ...changes };
    await withCpu({ threads: 2 }, async (device) => {
      const found = await onDevice(device, SHAPES, initial, options, steps);
      assertSame(found, inF64(initial, options, steps));
    });
  });

  Deno.test(`AdamW ${name}: mixers at a rate of their own, plain loops in f64`, async () => {
    const { initial, steps } = someSteps();
    const options = { ...BASE, ...changes };
    const apart = steps.map((step, i) => ({ ...step, mixerRate: 2e-2 / (i + 1) }));
    const isMixer = (tensor: string) => tensor === "x" || tensor === "z";
    await withCpu({ threads: 2 }, async (device) => {
      const found = await onDevice(device, SHAPES, initial, options, apart, isMixer);
      assertSame(found, inF64(initial, options, apart, isMixer));
      // One rate for all is the same bits as no rate of their own.
      const alike = await onDevice(device, SHAPES, initial, options, steps, isMixer);
      assertEquals(alike, await onDevice(device, SHAPES, initial, options, steps));
    });
  });
}

Deno.test("AdamW: a gradient of zero moves nothing but by the decay", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const steps = [{ learningRate: 0.5, gradients: { x: [0, 0, 0] } }];
    const initial = { x: [1, -2, 4] };
    const plain = await onDevice(device, { x: [3] }, initial, { ...BASE, clip: 1 }, steps);
    assertEquals(plain, [{ norm: 0, weights: initial }]);
    const decayed = await onDevice(device, { x: [3] }, initial, {
      ...BASE,
      weightDecay: 0.5,
    }, steps);
    assertEquals(decayed[0].weights, { x: [0.75, -1.5, 3] });
  });
});

Deno.test("AdamW: large stores are updated in pieces, with the norm of all", async () => {
  const { uniform } = random(4);
  const shapes = { a: [1500], "mixer.b": [40, 70], c: [3] };
  const draw = (): Values =>
    Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [
        name,
        Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => uniform(-1, 1)),
      ]),
    );
  const initial = draw();
  const step = () => ({ learningRate: 1e-3, mixerRate: 1e-2, gradients: draw() });
  const steps = [step(), step()];
  const options = { betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1, clip: 0.5 } as const;
  const isMixer = (name: string) => name.startsWith("mixer");
  await withCpu({ threads: 2 }, async (device) => {
    const whole = await onDevice(device, shapes, initial, options, steps, isMixer);
    const parts = await onDevice(device, shapes, initial, options, steps, isMixer, 2048);
    for (const [i, { norm, weights }] of whole.entries()) {
      // Sums of squares in another order.
      assertAlmostEquals(parts[i].norm, norm, 1e-6 * norm);
      for (const [name, values] of Object.entries(weights)) {
        assertClose(name, parts[i].weights[name], values, 1e-6);
      }
    }
  });
});
