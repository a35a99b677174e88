/** AdamW with clipping by the global norm, over all tensors in one pass. */

import type { Device, Executable, Memory } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import { createStore, ROW, type Store } from "../devices/store.ts";

/** What does not change from step to step (PyTorch's AdamW). */
export interface OptimizerOptions {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Largest norm of the gradient; 0 does not clip. */
  readonly clip: number;
}

/** What changes from step to step. */
const SCALARS = ["rate", "correction1", "correction2", "decay"] as const;

/** An optimizer of one store. */
export interface Optimizer {
  /** First and second moments, laid out as the weights are. */
  readonly first: Store;
  readonly second: Store;
  /** Takes step number `step` (from 0) at a learning rate; returns the gradient's norm. */
  step(step: number, learningRate: number): Promise<number>;
  free(): void;
}

/**
 * Prepares AdamW for weights and their gradients, which have one layout:
 * m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w·(1−λη) − η·m̂/(√v̂+ε), where g has been scaled by
 * min(1, clip/(‖g‖+10⁻⁶)) as torch.nn.utils.clip_grad_norm_ does.
 */
export function createOptimizer(
  device: Device,
  weights: Store,
  gradients: Store,
  options: OptimizerOptions,
): Optimizer {
  const { size } = weights.layout;
  const [beta1, beta2] = options.betas;
  using owned = new DisposableStack();
  const moments = () => owned.adopt(createStore(device, weights.layout), (store) => store.free());
  const scalar = () => owned.adopt(device.allocate(4), device.free);
  const [first, second] = [moments(), moments()];
  const memory: Readonly<Record<typeof SCALARS[number], Memory>> = {
    rate: scalar(),
    correction1: scalar(),
    correction2: scalar(),
    decay: scalar(),
  };
  const normMemory = scalar();

  const w = g.input("weights", [size]);
  const m = g.input("first", [size]);
  const v = g.input("second", [size]);
  const raw = g.input("gradients", [size]);
  const [rate, correction1, correction2, decay] = SCALARS.map((name) => g.input(name, [1]));
  const rows = g.reshape(raw, [size / ROW, ROW]);
  const squares = g.reshape(g.sum(g.mul(rows, rows), [1]), [size / ROW]);
  const norm = g.sqrt(g.sum(squares, [0]));
  const scale = options.clip === 0
    ? g.constant(1)
    : g.minimum(1, g.div(options.clip, g.add(norm, 1e-6)));
  const gradient = g.mul(raw, scale);
  const newM = g.add(g.mul(m, beta1), g.mul(gradient, 1 - beta1));
  const newV = g.add(g.mul(v, beta2), g.mul(g.mul(gradient, gradient), 1 - beta2));
  const direction = g.div(
    g.mul(newM, correction1),
    g.add(g.sqrt(g.mul(newV, correction2)), options.epsilon),
  );
  const newW = g.sub(g.mul(w, decay), g.mul(direction, rate));
  const executable: Executable = device.compile([newW, newM, newV, norm], {
    inputs: {
      weights: weights.memory,
      first: first.memory,
      second: second.memory,
      gradients: gradients.memory,
      ...memory,
    },
    results: [weights.memory, first.memory, second.memory, normMemory],
  });
  owned.adopt(executable, () => executable.free());
  const set = (name: typeof SCALARS[number], value: number) =>
    device.write(memory[name], new Float32Array([value]));
  const kept = owned.move();
  return {
    first,
    second,
    step: async (step, learningRate) => {
      set("rate", learningRate);
      set("correction1", 1 / (1 - beta1 ** (step + 1)));
      set("correction2", 1 / (1 - beta2 ** (step + 1)));
      set("decay", 1 - learningRate * options.weightDecay);
      executable.run();
      const norm = new Float32Array(1);
      await device.read(normMemory, norm);
      return norm[0];
    },
    free: () => kept.dispose(),
  };
}
