/** From config.json to what a model is, and from a converted model back to its config.json. */

import type { ConvertingMixer, Mixer, Rank } from "../dsl/mixers.ts";
import type { Problem } from "../dsl/problem.ts";
import type { ConvertedConfig, ModelConfig } from "../formats/hf_config/config.ts";
import {
  type AttentionSpec,
  type DecoderConfig,
  type MixerSpec,
  type ModelSpec,
  radRwkv6Ranks,
  radRwkv7Ranks,
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
  if (config.modelType !== "rwkv6qwen2" && config.modelType !== "rwkv7qwen2") {
    return { config, mixers: layers.map((layer) => attentionSpec(config, layer)) };
  }
  const flags = {
    rope: config.useRope,
    balanceState: config.balanceState,
    groupNorm: config.groupnormAtt,
    gate: config.gateRankType,
  };
  const mixers = layers.map((layer): MixerSpec => {
    if (config.attentionLayers.includes(layer)) return attentionSpec(config, layer);
    const rank = (name: string, written: number | null) =>
      storedRank(tensors, layer, name, written);
    const gate = rank("g1", config.loraRankGate);
    if (config.modelType === "rwkv6qwen2") {
      return {
        kind: "radRwkv6",
        ...flags,
        tokenShift: config.useTokenshift,
        ranks: {
          // [5, R, C]: its rank lies in the middle as well.
          tokenShift: rank("time_maa_w2", config.loraRankTokenshift),
          decay: rank("time_decay_w1", config.loraRankDecay),
          gate,
        },
      };
    }
    return {
      kind: "radRwkv7",
      ...flags,
      ranks: {
        decay: rank("w1", config.loraRankDecay),
        iclr: rank("a1", config.loraRankIclr),
        valueResidual: rank("v1", config.loraRankValueResidualMix),
        gate,
      },
    };
  });
  return { config, mixers };
}

/** Ranks as numbers: those that a recipe gives, and automatic ones. */
function pickRanks<R extends object>(given: { readonly [K in keyof R]: Rank }, auto: R): R {
  const names = Object.keys(auto) as (keyof R)[];
  return Object.fromEntries(
    names.map((name) => [name, given[name] === "auto" ? auto[name] : given[name]]),
  ) as R;
}

/** A recipe's mixer with its ranks as numbers. */
function convertedSpec(mixer: ConvertingMixer, hiddenSize: number): MixerSpec {
  const { rope, balanceState, groupNorm, gate } = mixer;
  const flags = { rope, balanceState, groupNorm, gate };
  switch (mixer.kind) {
    case "radRwkv6": {
      const { kind, tokenShift } = mixer;
      const ranks = pickRanks(mixer.ranks, radRwkv6Ranks(hiddenSize));
      return { kind, ...flags, tokenShift, ranks };
    }
    case "radRwkv7":
      return {
        kind: mixer.kind,
        ...flags,
        ranks: pickRanks(mixer.ranks, radRwkv7Ranks(hiddenSize)),
      };
    default:
      return mixer satisfies never;
  }
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
      mixer.kind === "attention" ? teacher.mixers[layer] : convertedSpec(mixer, config.hiddenSize)
    ),
  };
}

/** A mixer without the ranks of what its flags leave out: mixers of one text are the same. */
function identity(mixer: Exclude<MixerSpec, { kind: "attention" }>): string {
  const unused = [
    ...(mixer.gate === 2 ? [] : ["gate"]),
    ...(mixer.kind === "radRwkv6" && !mixer.tokenShift ? ["tokenShift"] : []),
  ];
  const ranks = Object.entries(mixer.ranks).filter(([name]) => !unused.includes(name)).sort();
  return JSON.stringify(Object.entries({ ...mixer, ranks }).sort());
}

/** What a student's config.json cannot say: converted layers that differ from one another. */
export function configProblems({ mixers }: ModelSpec): Problem[] {
  const converted = mixers.flatMap((mixer, layer) =>
    mixer.kind === "attention" ? [] : [{ layer, kind: mixer.kind, text: identity(mixer) }]
  );
  const [first] = converted;
  const kind = converted.find(({ kind }) => kind !== first.kind);
  if (kind !== undefined) {
    return [{
      path: "surgery",
      expected: "one kind of mixer in all converted layers, which is all that config.json can say",
      found: `${kind.kind} in layer ${kind.layer} and ${first.kind} in layer ${first.layer}`,
    }];
  }
  const other = converted.find(({ text }) => text !== first.text);
  return other === undefined ? [] : [{
    path: "surgery",
    expected: "the same flags in every converted layer, which is all that config.json can say",
    found: `other flags in layer ${other.layer} than in layer ${first.layer}`,
  }];
}

/** The config of a student, as its checkpoint carries it. */
export function studentConfig(teacher: ModelConfig, student: ModelSpec): ModelConfig {
  const mixer = student.mixers.find((m) => m.kind !== "attention");
  if (mixer === undefined) return teacher;
  const config: DecoderConfig & ModelConfig = teacher;
  const kept = student.mixers.map((m) => m.kind === "attention");
  const attentionLayers = kept.flatMap((isKept, layer) => isKept ? [layer] : []);
  const slidingLayers = teacher.slidingLayers.filter((layer) => kept[layer]);
  const shared = {
    ...config,
    torchDtype: "float32",
    useRope: mixer.rope,
    useTokenshift: false,
    balanceState: mixer.balanceState,
    groupnormAtt: mixer.groupNorm,
    gateRankType: mixer.gate,
    loraRankTokenshift: null,
    loraRankDecay: mixer.ranks.decay,
    loraRankIclr: null,
    loraRankValueResidualMix: null,
    loraRankGate: mixer.gate === 2 ? mixer.ranks.gate : null,
    attentionLayers,
    slidingWindow: slidingLayers.length === 0 ? null : teacher.slidingWindow,
    slidingLayers,
  } as const satisfies ConvertedConfig;
  switch (mixer.kind) {
    case "radRwkv6":
      return {
        ...shared,
        modelType: "rwkv6qwen2",
        useTokenshift: mixer.tokenShift,
        loraRankTokenshift: mixer.tokenShift ? mixer.ranks.tokenShift : null,
      };
    case "radRwkv7":
      return {
        ...shared,
        modelType: "rwkv7qwen2",
        loraRankIclr: mixer.ranks.iclr,
        loraRankValueResidualMix: mixer.ranks.valueResidual,
      };
    default:
      return mixer satisfies never;
  }
}
