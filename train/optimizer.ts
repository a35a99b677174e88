/** AdamW with clipping by the global norm, over all tensors in one pass, at one rate or at two. */

import type { Device, Executable, Memory } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import { createStore, type Layout, ROW, STEP, type Store } from "../devices/store.ts";

/** What does not change from step to step (PyTorch's AdamW). */
export interface OptimizerOptions {
  /** What it is part of, for profiles. */
  readonly name?: string;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Largest norm of the gradient; 0 does not clip. */
  readonly clip: number;
}

/** What changes from step to step. */
const SCALARS = [
  ...["rate", "decay", "mixerRate", "mixerDecay"] as const,
  ...["correction1", "correction2"] as const,
] as const;

/** An optimizer of one store. */
export interface Optimizer {
  /** First and second moments, laid out as the weights are. */
  readonly first: Store;
  readonly second: Store;
  /**
   * Takes step number `step` (from 0) at a learning rate, tensors with a rate of their own at
   * another; returns the gradient's norm.
   */
  step(step: number, learningRate: number, mixerRate?: number): Promise<number>;
  free(): void;
}

/**
 * Prepares AdamW for weights and their gradients, which have one layout:
 * m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w·(1−λη) − η·m̂/(√v̂+ε), where g has been scaled by
 * min(1, clip/(‖g‖+10⁻⁶)) as torch.nn.utils.clip_grad_norm_ does. The norm is of all tensors; η is
 * the step's learning rate, or its mixers' rate where `isMixer` says so of a tensor's name (in
 * PyTorch, two groups of parameters).
 */
export function createOptimizer(
  device: Device,
  weights: Store,
  gradients: Store,
  options: OptimizerOptions,
  isMixer?: (name: string) => boolean,
): Optimizer {
  const { size } = weights.layout;
  // Every tensor starts a line, so that a line has one rate.
  const lines = size / STEP;
  const shape = isMixer === undefined ? [size] : [lines, STEP];
  const [beta1, beta2] = options.betas;
  using owned = new DisposableStack();
  const moments = () => owned.adopt(createStore(device, weights.layout), (store) => store.free());
  const scalar = () => owned.adopt(device.allocate(4), device.free);
  const [first, second] = [moments(), moments()];
  const memory: Readonly<Record<typeof SCALARS[number], Memory>> = {
    rate: scalar(),
    decay: scalar(),
    mixerRate: scalar(),
    mixerDecay: scalar(),
    correction1: scalar(),
    correction2: scalar(),
  };
  const normMemory = scalar();

  const mask = isMixer && owned.adopt(device.allocate(4 * lines), device.free);
  if (mask !== undefined) device.write(mask, mixerLines(weights.layout, isMixer!));

  const w = g.input("weights", shape);
  const m = g.input("first", shape);
  const v = g.input("second", shape);
  const raw = g.input("gradients", shape);
  const scalars = SCALARS.map((name) => g.input(name, [1]));
  const [oneRate, oneDecay, mixerRate, mixerDecay, correction1, correction2] = scalars;
  // One of the two in full: the mask is 0 or 1.
  const inMixers = g.input("mask", [lines, 1]);
  const choose = (mixers: Tensor, others: Tensor) =>
    mask === undefined ? others : g.add(g.mul(inMixers, mixers), g.mul(g.sub(1, inMixers), others));
  const rate = choose(mixerRate, oneRate);
  const decay = choose(mixerDecay, oneDecay);
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
      ...(mask && { mask }),
    },
    results: [weights.memory, first.memory, second.memory, normMemory],
    name: `${options.name ?? "weights"}: optimizer`,
  });
  owned.adopt(executable, () => executable.free());
  const set = (name: typeof SCALARS[number], value: number) =>
    device.write(memory[name], new Float32Array([value]));
  const kept = owned.move();
  return {
    first,
    second,
    step: async (step, learningRate, mixerRate = learningRate) => {
      set("rate", learningRate);
      set("mixerRate", mixerRate);
      set("correction1", 1 / (1 - beta1 ** (step + 1)));
      set("correction2", 1 / (1 - beta2 ** (step + 1)));
      set("decay", 1 - learningRate * options.weightDecay);
      set("mixerDecay", 1 - mixerRate * options.weightDecay);
      executable.run();
      const norm = new Float32Array(1);
      await device.read(normMemory, norm);
      return norm[0];
    },
    free: () => kept.dispose(),
  };
}

/** 1 for the lines of tensors that are mixers', 0 for all others. */
function mixerLines({ tensors, size }: Layout, isMixer: (name: string) => boolean): Float32Array {
  const lines = new Float32Array(size / STEP);
  for (const tensor of tensors) {
    if (!isMixer(tensor.name)) continue;
    const first = tensor.offset / STEP;
    lines.fill(1, first, first + Math.ceil(tensor.size / STEP));
  }
  return lines;
}
