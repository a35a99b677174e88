/** The kernels of a stage by kind, counted by the null device. */

import { type CountedLaunch, launchesOf } from "../devices/null.ts";
import type { Stage } from "../dsl/stages.ts";
import type { Step } from "../graph/step.ts";
import type { DecoderConfig, ModelSpec } from "../models/config.ts";
import { sequences } from "../plan/budget.ts";
import type { CountedKernel, KernelKind } from "../plan/roofline.ts";
import {
  countedLayers,
  type LayerPair,
  layerSamples,
  partResults,
  sampleWeights,
} from "./stage_cost.ts";

/** The kind of a step in a graph in which nothing but a vocabulary has its size. */
function kindOf({ work, reads, writes }: Step, vocabulary: number): KernelKind {
  if ([...reads, ...writes].some(({ shape }) => shape.includes(vocabulary))) return "head";
  switch (work.kind) {
    case "matmul":
      return "products";
    case "loop":
    case "columns":
      return "pointwise";
    case "structured":
      return structuredKind(work.node.op.kind);
    default:
      return work satisfies never;
  }
}

/** The kind of an operation that has a kernel of its own. */
function structuredKind(name: string): KernelKind {
  if (name.startsWith("wkv")) return "wkv";
  return name.includes("attention") ? "attention" : "head";
}

/**
 * The kernel of a launch. Attention is matrix products, and so are heads but for their losses. Of
 * pointwise work the label only says what it is: few layers fuse otherwise than many do.
 */
function kernelOf({ step, label }: CountedLaunch, vocabulary: number) {
  const kind = kindOf(step, vocabulary);
  const unit = step.work.kind === "matmul" || kind === "attention" ? "matrix" : "vector";
  const fused = step.work.kind === "loop" || step.work.kind === "columns";
  return { label: fused ? step.work.kind : label, kind, unit } as const;
}

/** A vocabulary of about the same size which no other size of the graph equals. */
function apartVocabulary(config: DecoderConfig, { context }: Stage, rows: number): number {
  const { hiddenSize, intermediateSize, attentionHeads, keyValueHeads, headDim } = config;
  const others = [context, rows * context, hiddenSize, intermediateSize, headDim, attentionHeads];
  others.push(keyValueHeads, attentionHeads * headDim, keyValueHeads * headDim);
  let { vocabSize } = config;
  while (others.includes(vocabSize)) vocabSize++;
  return vocabSize;
}

/**
 * The kernels that one of `devices` runs for a part of a batch, forward and backward; those of a
 * kind and size are together, with their average. Of a deep model a few layers are counted, as
 * stageSequenceCost does.
 */
export function stageKernels(
  stage: Stage,
  student: ModelSpec,
  teacher: ModelSpec | undefined,
  devices: number,
): CountedKernel[] {
  const rows = sequences(stage, { devices });
  const part = { ...stage, batch: rows * stage.accumulate };
  const vocabSize = apartVocabulary(student.config, stage, rows);
  const config = { ...student.config, vocabSize };
  const kernels = new Map<string, CountedKernel>();
  const add = (pairs: readonly LayerPair[], weight: number) => {
    for (const launch of launchesOf(partResults(part, config, pairs, teacher !== undefined))) {
      const kernel = kernelOf(launch, vocabSize);
      // Products of one size of result differ in what is summed.
      const key = JSON.stringify([kernel, kernel.unit === "matrix" && launch.flops]);
      const sums = kernels.get(key) ?? { ...kernel, launches: 0, flops: 0, bytes: 0 };
      kernels.set(key, {
        ...sums,
        launches: sums.launches + weight,
        flops: sums.flops + weight * launch.flops,
        bytes: sums.bytes + weight * launch.bytes,
      });
    }
  };
  const { all, pairs, whole } = countedLayers(stage, student, teacher);
  if (whole) add(all, 1);
  else {
    layerSamples(pairs).forEach((sample, i) => {
      const weights = sampleWeights(sample, i);
      add(sample.few, weights.few);
      add(sample.more, weights.more);
    });
  }
  // What few layers have and more do not leaves a rounding error.
  return [...kernels.values()].filter(({ launches }) => launches > 1e-6).map((sums) => ({
    ...sums,
    flops: sums.flops / sums.launches,
    bytes: sums.bytes / sums.launches,
  }));
}
