/** What a stage costs to compute, counted by the null device. */

import { type Cost, costOf } from "../devices/null.ts";
import type { Stage } from "../dsl/stages.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { DecoderConfig, MixerSpec, ModelSpec } from "../models/config.ts";
import { isAligned } from "./losses.ts";
import { accumulated, stageGraph } from "./stage_graph.ts";

/** What one sequence of a stage costs, forward and backward, without the optimizer. */
export interface SequenceCost {
  /** Floating-point operations, a multiplication and an addition counting as two. */
  readonly flops: number;
  /** Bytes of intermediate results of the layers, all f32; those of the head are apart. */
  readonly activationBytes: number;
}

/** Layers of a kind that are put between the first and the last layer of a small model. */
const FEW = 2;
/** The same in a larger one: what it costs more is what these layers cost. */
const MORE = 5;

/** Layers up to which the memory of stage 1, whose graph is quickly made, is that of all of them. */
const WHOLE = 48;

/** So few pieces that the head is nothing beside a layer. */
const NO_VOCABULARY = 16;

/** Tokens from which the head's cost a token is taken: it does not depend on the context. */
const HEAD_TOKENS = 256;

/** A layer of the student and the same layer of the teacher. */
export interface LayerPair {
  readonly student: MixerSpec;
  readonly teacher?: MixerSpec;
}

/** What is computed for a part of a batch, through some of the layers. */
export function partResults(
  stage: Stage,
  config: DecoderConfig,
  pairs: readonly LayerPair[],
  hasTeacher: boolean,
): readonly Tensor[] {
  const sized = { ...config, layers: pairs.length };
  const student = { config: sized, mixers: pairs.map((pair) => pair.student) };
  const teacher = hasTeacher
    ? { config: sized, mixers: pairs.map((pair) => pair.teacher!) }
    : undefined;
  const graph = stageGraph(stage, student, teacher);
  // The program of the later parts of a batch holds a little more than that of the first.
  return stage.accumulate === 1 ? graph.results : accumulated(graph);
}

const count = (...part: Parameters<typeof partResults>): Cost => costOf(partResults(...part));

/** Operations and memory of a program. */
export type ProgramCost = Pick<Cost, "flops" | "arenaBytes">;

/** FLOPs of the head and its loss for one token, with gradients. */
function headFlops(
  stage: Stage,
  config: DecoderConfig,
  ends: readonly LayerPair[],
  hasTeacher: boolean,
): number {
  // Stage 1 compares mixers: nothing comes to the head.
  if (stage.kind === "align") return 0;
  const short = { ...stage, context: HEAD_TOKENS };
  const at = (vocabSize: number) => count(short, { ...config, vocabSize }, ends, hasTeacher).flops;
  return (at(config.vocabSize) - at(NO_VOCABULARY)) / HEAD_TOKENS;
}

/** The layers that a stage computes, and whether each kind of them may stand for all of its kind. */
export function countedLayers(stage: Stage, student: ModelSpec, teacher?: ModelSpec) {
  const all = student.mixers.map((mixer, i): LayerPair => ({
    student: mixer,
    teacher: teacher?.mixers[i],
  }));
  // What comes after the last aligned layer does not enter the loss of stage 1.
  const aligns = (_: LayerPair, layer: number) => isAligned(student, teacher, layer);
  const pairs = stage.kind === "align" ? all.slice(0, all.findLastIndex(aligns) + 1) : all;
  const isConverted = ({ student }: LayerPair) => student.kind !== "attention";
  // How far back gradients go then depends on where a layer is.
  const uneven = typeof stage.trains !== "string" ||
    stage.kind !== "align" && stage.trains === "mixers" && !all.every(isConverted);
  return { all, pairs, whole: uneven || pairs.length <= FEW + 2 };
}

/** Layers of a kind, and the graphs with few and with more of them between the ends. */
export interface LayerSample {
  readonly layers: number;
  readonly few: readonly LayerPair[];
  readonly more: readonly LayerPair[];
}

/** A sample of every kind of layer between the first and the last. */
export function layerSamples(pairs: readonly LayerPair[]): LayerSample[] {
  const [first, last] = [pairs[0], pairs[pairs.length - 1]];
  const kinds = new Map<string, LayerPair[]>();
  for (const pair of pairs.slice(1, -1)) {
    // An equal mixer that starts afresh is aligned, other than the teacher's own.
    const key = JSON.stringify([pair, pair.student === pair.teacher]);
    kinds.set(key, [...kinds.get(key) ?? [], pair]);
  }
  const between = (pair: LayerPair, n: number) => [first, ...Array<LayerPair>(n).fill(pair), last];
  return [...kinds.values()].map((layers) => ({
    layers: layers.length,
    few: between(layers[0], FEW),
    more: between(layers[0], MORE),
  }));
}

/**
 * How many times what is counted of a sample stands for its layers, and, with the first sample, for
 * the ends, which are counted once.
 */
export function sampleWeights({ layers }: LayerSample, index: number) {
  const layer = 1 / (MORE - FEW);
  const own = index === 0 ? layers - FEW : layers;
  return { few: (index === 0 ? 1 : 0) - own * layer, more: own * layer };
}

/**
 * The program of a part of a batch with a given config, of all layers. A model of a few layers is
 * counted whole. Of a deeper one every kind of layer is counted a few times at its real width, so
 * that any depth takes seconds.
 */
function extrapolated(
  stage: Stage,
  config: DecoderConfig,
  { all, pairs, whole }: ReturnType<typeof countedLayers>,
  hasTeacher: boolean,
): ProgramCost {
  if (whole) return count(stage, config, all, hasTeacher);
  let [flops, ends, layersBytes] = [0, 0, 0];
  layerSamples(pairs).forEach((sample, i) => {
    const [few, more] = [sample.few, sample.more].map((pairs) =>
      count(stage, config, pairs, hasTeacher)
    );
    const weights = sampleWeights(sample, i);
    flops += weights.few * few.flops + weights.more * more.flops;
    const bytesOfLayer = Math.max(0, (more.arenaBytes - few.arenaBytes) / (MORE - FEW));
    // They are where the ends hold most.
    ends = Math.max(ends, few.arenaBytes - FEW * bytesOfLayer);
    layersBytes += sample.layers * bytesOfLayer;
  });
  return { flops, arenaBytes: ends + layersBytes };
}

/**
 * What one sequence of a stage costs. FLOPs are those of the whole graph, with the head counted
 * apart; the activations are those of the layers, without the head, whose logits are held by blocks.
 */
export function stageSequenceCost(
  stage: Stage,
  student: ModelSpec,
  teacher?: ModelSpec,
): SequenceCost {
  const { config } = student;
  const hasTeacher = teacher !== undefined;
  const one = { ...stage, batch: 1, accumulate: 1 };
  const layers = countedLayers(stage, student, teacher);
  const bare = extrapolated(one, { ...config, vocabSize: NO_VOCABULARY }, layers, hasTeacher);
  const { all, pairs, whole } = layers;
  const flops = whole && stage.kind !== "align"
    ? count(one, config, all, hasTeacher).flops
    : bare.flops +
      stage.context * headFlops(one, config, [pairs[0], pairs[pairs.length - 1]], hasTeacher);
  return { flops, activationBytes: bare.arenaBytes };
}

/** What a part of a batch costs as this machine would compute it, the head with the layers. */
export function stageProgramCost(
  stage: Stage,
  student: ModelSpec,
  teacher?: ModelSpec,
): ProgramCost {
  const layers = countedLayers(stage, student, teacher);
  // What every layer leaves for the gradient of the first value decides only in deep models.
  const whole = layers.whole || stage.kind === "align" && layers.pairs.length <= WHOLE;
  return extrapolated(stage, student.config, { ...layers, whole }, teacher !== undefined);
}
