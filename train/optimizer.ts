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
 * @param pieceSize values that one kernel updates at most, a multiple of 1024
 */
export function createOptimizer(
  device: Device,
  weights: Store,
  gradients: Store,
  options: OptimizerOptions,
  isMixer?: (name: string) => boolean,
  pieceSize = PIECE,
): Optimizer {
  const { size } = weights.layout;
  // Every tensor starts a line, so that a line has one rate.
  const lines = size / STEP;
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

  const pieces = piecesOf(size, pieceSize);
  const scalars = SCALARS.map((name) => g.input(name, [1]));
  const [oneRate, oneDecay, mixerRate, mixerDecay, correction1, correction2] = scalars;
  // One of the two in full: the mask is 0 or 1.
  const input = (name: string, { index, size }: Piece) =>
    g.input(`${name}.${index}`, isMixer === undefined ? [size] : [size / STEP, STEP]);
  const squared = (piece: Piece) => {
    const rows = g.reshape(input("gradients", piece), [piece.size / ROW, ROW]);
    return g.sum(g.reshape(g.sum(g.mul(rows, rows), [1]), [piece.size / ROW]), [0]);
  };
  const norm = g.sqrt(pieces.map(squared).reduce((sum, part) => g.add(sum, part)));
  const scale = options.clip === 0
    ? g.constant(1)
    : g.minimum(1, g.div(options.clip, g.add(norm, 1e-6)));
  const updated = (piece: Piece): Tensor[] => {
    const inMixers = g.input(`mask.${piece.index}`, [piece.size / STEP, 1]);
    const choose = (mixers: Tensor, others: Tensor) =>
      mask === undefined
        ? others
        : g.add(g.mul(inMixers, mixers), g.mul(g.sub(1, inMixers), others));
    const gradient = g.mul(input("gradients", piece), scale);
    const newM = g.add(g.mul(input("first", piece), beta1), g.mul(gradient, 1 - beta1));
    const newV = g.add(
      g.mul(input("second", piece), beta2),
      g.mul(g.mul(gradient, gradient), 1 - beta2),
    );
    const direction = g.div(
      g.mul(newM, correction1),
      g.add(g.sqrt(g.mul(newV, correction2)), options.epsilon),
    );
    const newW = g.sub(
      g.mul(input("weights", piece), choose(mixerDecay, oneDecay)),
      g.mul(direction, choose(mixerRate, oneRate)),
    );
    return [newW, newM, newV];
  };
  const stores = { weights, first, second, gradients };
  const inputs: Record<string, Memory> = { ...memory };
  const results: Memory[] = [];
  for (const { index, begin, size } of pieces) {
    for (const [name, store] of Object.entries(stores)) {
      const part = store.memory.slice(4 * begin, 4 * size);
      inputs[`${name}.${index}`] = part;
      if (name !== "gradients") results.push(part);
    }
    if (mask) inputs[`mask.${index}`] = mask.slice(4 * begin / STEP, 4 * size / STEP);
  }
  const executable: Executable = device.compile([...pieces.flatMap(updated), norm], {
    inputs,
    results: [...results, normMemory],
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

/** Values of a piece at most: kernels reach 2 GiB of one tensor. */
const PIECE = 2 ** 28;

/** A part of the stores that is updated by itself. */
interface Piece {
  readonly index: number;
  readonly begin: number;
  readonly size: number;
}

/** The pieces of stores of so many values. */
function piecesOf(size: number, most: number): Piece[] {
  return Array.from({ length: Math.ceil(size / most) }, (_, index) => {
    const begin = index * most;
    return { index, begin, size: Math.min(most, size - begin) };
  });
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
