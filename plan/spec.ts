/** From config.json to what a model is, and from a converted model back to its config.json. */

import type { RadRwkv7 } from "../dsl/mixers.ts";
import type { Problem } from "../dsl/problem.ts";
import type { Mixer } from "../dsl/mixers.ts";
import type { ModelConfig, Rwkv7Qwen2Config } from "../formats/hf_config/config.ts";
import {
  type AttentionSpec,
  type DecoderConfig,
  type MixerSpec,
  type ModelSpec,
  radRwkv7Ranks,
  type RadRwkv7Spec,
} from "../models/config.ts";
import { mixerPrefix } from "../models/decoder.ts";

/** Shapes of a checkpoint's tensors by name. */
export type TensorShapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** A rank that config.json leaves out is the one that the tensors have. */
function storedRank(
  tensors: TensorShapes,
  layer: number,
  name: string,
  written: number | null,
): number {
  return written ?? tensors.get(`${mixerPrefix(layer)}${name}`)?.shape[1] ?? 1;
}

/** The attention of a layer, which may have a window. */
function attentionSpec(
  { slidingWindow, slidingLayers }: ModelConfig,
  layer: number,
): AttentionSpec {
  return slidingWindow !== null && slidingLayers.includes(layer)
    ? { kind: "attention", window: slidingWindow }
    : { kind: "attention" };
}

/** What a checkpoint is, from its config and the shapes of its tensors. */
export function checkpointSpec(config: ModelConfig, tensors: TensorShapes): ModelSpec {
  const layers = Array.from({ length: config.layers }, (_, layer) => layer);
  if (config.modelType !== "rwkv7qwen2") {
    return { config, mixers: layers.map((layer) => attentionSpec(config, layer)) };
  }
  const mixers = layers.map((layer): MixerSpec => {
    if (config.attentionLayers.includes(layer)) return attentionSpec(config, layer);
    const rank = (name: string, written: number | null) =>
      storedRank(tensors, layer, name, written);
    return {
      kind: "radRwkv7",
      rope: config.useRope,
      balanceState: config.balanceState,
      groupNorm: config.groupnormAtt,
      gate: config.gateRankType,
      ranks: {
        decay: rank("w1", config.loraRankDecay),
        iclr: rank("a1", config.loraRankIclr),
        valueResidual: rank("v1", config.loraRankValueResidualMix),
        gate: rank("g1", config.loraRankGate),
      },
    };
  });
  return { config, mixers };
}

/** A recipe's RAD-RWKV7 with its ranks as numbers. */
function radRwkv7Spec({ rope, balanceState, groupNorm, gate, ranks }: RadRwkv7, hidden: number) {
  const auto = radRwkv7Ranks(hidden);
  const pick = (name: keyof typeof auto) => ranks[name] === "auto" ? auto[name] : ranks[name];
  return {
    kind: "radRwkv7",
    rope,
    balanceState,
    groupNorm,
    gate,
    ranks: {
      decay: pick("decay"),
      iclr: pick("iclr"),
      valueResidual: pick("valueResidual"),
      gate: pick("gate"),
    },
  } as const satisfies RadRwkv7Spec;
}

/**
 * The student that a teacher becomes: `mixers` has one entry a layer, where attention stands for
 * whatever the teacher has.
 */
export function studentSpec(teacher: ModelSpec, mixers: readonly Mixer[]): ModelSpec {
  const { config } = teacher;
  return {
    config,
    mixers: mixers.map((mixer, layer) =>
      mixer.kind === "attention" ? teacher.mixers[layer] : radRwkv7Spec(mixer, config.hiddenSize)
    ),
  };
}

/** What a student's config.json cannot say: converted layers that differ from one another. */
export function configProblems({ mixers }: ModelSpec): Problem[] {
  const converted = mixers.flatMap((mixer, layer) =>
    mixer.kind === "attention" ? [] : [{ layer, text: JSON.stringify(mixer) }]
  );
  const other = converted.find(({ text }) => text !== converted[0].text);
  return other === undefined ? [] : [{
    path: "surgery",
    expected: "the same flags in every converted layer, which is all that config.json can say",
    found: `other flags in layer ${other.layer} than in layer ${converted[0].layer}`,
  }];
}

/** The config of a student, as its checkpoint carries it. */
export function studentConfig(teacher: ModelConfig, student: ModelSpec): ModelConfig {
  const mixer = student.mixers.find((m) => m.kind === "radRwkv7");
  if (mixer === undefined) return teacher;
  const config: DecoderConfig & ModelConfig = teacher;
  const kept = student.mixers.map((m) => m.kind === "attention");
  const attentionLayers = kept.flatMap((isKept, layer) => isKept ? [layer] : []);
  const slidingLayers = teacher.slidingLayers.filter((layer) => kept[layer]);
  return {
    ...config,
    modelType: "rwkv7qwen2",
    torchDtype: "float32",
    useRope: mixer.rope,
    useTokenshift: false,
    balanceState: mixer.balanceState,
    groupnormAtt: mixer.groupNorm,
    gateRankType: mixer.gate,
    loraRankTokenshift: null,
    loraRankDecay: mixer.ranks.decay,
    loraRankIclr: mixer.ranks.iclr,
    loraRankValueResidualMix: mixer.ranks.valueResidual,
    loraRankGate: mixer.gate === 2 ? mixer.ranks.gate : null,
    attentionLayers,
    slidingWindow: slidingLayers.length === 0 ? null : teacher.slidingWindow,
    slidingLayers,
  } satisfies Rwkv7Qwen2Config;
}
