/** The losses of the stages, as graphs (paper, section 4). */

import * as g from "../graph/build.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { decoderForward, mixerForward } from "../models/decoder.ts";

/** Keeps the norm's gradient finite where student and teacher agree exactly. */
const NORM_EPSILON = 1e-30;

/** What a batch is: ids and, per token, the id that follows. */
export interface Batch {
  /** i32 [batch, time]. */
  readonly ids: Tensor;
  /** i32 [batch·time]. */
  readonly targets: Tensor;
  /** Rotary tables, [1, time, headDim/2]. */
  readonly cosine: Tensor;
  readonly sine: Tensor;
}

/** A model and its weights in a graph. */
export interface Model {
  readonly spec: ModelSpec;
  readonly weight: (name: string) => Tensor;
}

/** ‖a − b‖₂·C^(−½) of every token, as a mean over all tokens, [1]. a, b [batch, time, hidden]. */
export function alignmentLoss(a: Tensor, b: Tensor): Tensor {
  const difference = g.sub(a, b);
  const squared = g.sum(g.mul(difference, difference), [-1]);
  const norm = g.sqrt(g.add(squared, NORM_EPSILON));
  return g.meanAll(g.mul(norm, a.shape[a.shape.length - 1] ** -0.5));
}

/** The stage-1 loss of one layer. */
export interface LayerLoss {
  readonly layer: number;
  /** [1]. */
  readonly loss: Tensor;
}

/**
 * Whether a layer has something to learn in stage 1: those that keep their attention have not, nor
 * have those that a converted teacher had converted already: their mixer is the teacher's own, the
 * same object (`studentSpec`), which an equal one that starts afresh is not.
 */
export const isAligned = (student: ModelSpec, teacher: ModelSpec | undefined, layer: number) =>
  student.mixers[layer].kind !== "attention" && student.mixers[layer] !== teacher?.mixers[layer];

/**
 * Stage 1, layer by layer: every aligned layer's mixer is fed the teacher's residual stream and
 * answers what the teacher's own mixer answers. The mean of each over batch and time.
 */
export function alignLosses(teacher: Model, student: Model, batch: Batch): LayerLoss[] {
  const { traces } = decoderForward(teacher.spec, { ...batch, weight: teacher.weight });
  const losses: LayerLoss[] = [];
  let firstValue: Tensor | undefined;
  student.spec.mixers.forEach((mixer, layer) => {
    const trace = traces[layer];
    if (!isAligned(student.spec, teacher.spec, layer)) {
      firstValue ??= trace.value;
      return;
    }
    const { y, value } = mixerForward(mixer, {
      config: student.spec.config,
      layer,
      x: trace.x,
      weight: (name) => student.weight(`model.layers.${layer}.self_attn.${name}`),
      cosine: batch.cosine,
      sine: batch.sine,
      firstValue,
    });
    firstValue ??= value;
    losses.push({ layer, loss: alignmentLoss(trace.y, y) });
  });
  return losses;
}

/** Stage 1: the mean over aligned layers, [1]. */
export function alignLoss(teacher: Model, student: Model, batch: Batch): Tensor {
  const losses = alignLosses(teacher, student, batch).map(({ loss }) => loss);
  const total = losses.reduce((sum, loss) => g.add(sum, loss));
  return g.mul(total, 1 / losses.length);
}

/** Losses of a whole model. */
export interface ModelLosses {
  /** Of every token, [batch·time], in nats. */
  readonly losses: Tensor;
  /** The student's residual stream before every layer and after the last, to recompute from. */
  readonly streams: readonly Tensor[];
}

/** Stage 2: KL(teacher ‖ student) of every token. */
export function distillLosses(teacher: Model, student: Model, batch: Batch): ModelLosses {
  const from = decoderForward(teacher.spec, { ...batch, weight: teacher.weight });
  const to = decoderForward(student.spec, { ...batch, weight: student.weight });
  const losses = g.klDivergence(to.hidden, to.head, from.hidden, from.head);
  return { losses, streams: to.streams };
}

/** Stage 3 and pretraining: cross-entropy of every token. */
export function textLosses(model: Model, batch: Batch): ModelLosses {
  const output = decoderForward(model.spec, { ...batch, weight: model.weight });
  const losses = g.crossEntropy(output.hidden, output.head, batch.targets);
  return { losses, streams: output.streams };
}
