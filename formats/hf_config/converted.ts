/** What the configs of converted decoders share: flags, LoRA ranks and layers that keep attention. */
import type { JsonObject } from "../json.ts";
import { type DecoderConfig, readCommon, writeCommon } from "./decoder.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { layersFrom, readSlidingWindow, writeSlidingWindow } from "./sliding_window.ts";

/** 0: no gate, 1: a full-rank one, 2: a low-rank one. */
export type GateRankType = 0 | 1 | 2;

/**
 * A decoder whose attention was converted, in all layers or in some. Every flag stands for itself. A
 * rank is `null` where the file does not give it: then it is what the tensors have, since readers'
 * defaults contradict one another.
 */
export interface ConvertedConfig extends DecoderConfig {
  readonly useRope: boolean;
  readonly useTokenshift: boolean;
  readonly balanceState: boolean;
  readonly groupnormAtt: boolean;
  readonly gateRankType: GateRankType;
  readonly loraRankTokenshift: number | null;
  readonly loraRankDecay: number | null;
  readonly loraRankIclr: number | null;
  readonly loraRankValueResidualMix: number | null;
  readonly loraRankGate: number | null;
  /** The layers that keep their attention, in ascending order; empty where none does. */
  readonly attentionLayers: readonly number[];
}

const RANKS = {
  loraRankTokenshift: "lora_rank_tokenshift",
  loraRankDecay: "lora_rank_decay",
  loraRankIclr: "lora_rank_iclr",
  loraRankValueResidualMix: "lora_rank_value_residual_mix",
  loraRankGate: "lora_rank_gate",
} as const;

type Rank = keyof typeof RANKS;

/** What families of converted decoders differ in. */
export interface ConvertedFamily<T extends string> {
  readonly modelType: T;
  /** The class that transformers loads. */
  readonly architecture: string;
  /** Whether there can be a token shift: then every file says whether there is. */
  readonly tokenshift: boolean;
  /** Whether a model has tensors of a rank. */
  readonly hasRank: (rank: Rank, config: ConvertedConfig) => boolean;
}

/** How a family of converted decoders is read and written. */
export function convertedFamily<T extends string>(
  { modelType, architecture, tokenshift, hasRank }: ConvertedFamily<T>,
): Family<ConvertedConfig & { readonly modelType: T }> {
  return {
    modelType,
    architecture,
    read(fields) {
      const common = readCommon(fields, { maxPositionEmbeddings: 32768 });
      const attentionLayers = readAttentionLayers(fields, common.layers);
      const useTokenshift = fields.flag("use_tokenshift", tokenshift ? undefined : false);
      if (useTokenshift && !tokenshift) {
        fields.problem("use_tokenshift", "false", `${modelType} has no token shift`);
      }
      const rank = (name: Rank) => fields.has(RANKS[name]) ? fields.size(RANKS[name]) : null;
      return {
        modelType,
        ...common,
        ...readSlidingWindow(fields, common.layers, others(attentionLayers, common.layers)),
        attentionBias: fields.flag("attention_bias", true),
        attentionOutputBias: fields.flag("attention_output_bias", false),
        attentionQkNorm: fields.flag("attention_qk_norm", false),
        mlpBias: fields.flag("mlp_bias", false),
        useRope: fields.flag("use_rope"),
        useTokenshift,
        balanceState: fields.flag("balance_state"),
        groupnormAtt: fields.flag("groupnorm_att"),
        gateRankType: fields.oneOf<GateRankType>("gate_rank_type", [0, 1, 2]),
        loraRankTokenshift: rank("loraRankTokenshift"),
        loraRankDecay: rank("loraRankDecay"),
        loraRankIclr: rank("loraRankIclr"),
        loraRankValueResidualMix: rank("loraRankValueResidualMix"),
        loraRankGate: rank("loraRankGate"),
        attentionLayers,
      };
    },
    write(config) {
      return {
        ...writeCommon(config),
        attention_bias: config.attentionBias,
        attention_output_bias: config.attentionOutputBias,
        // A key of ours, for teachers that norm queries and keys: `q_norm` and `k_norm` stay.
        ...(config.attentionQkNorm ? { attention_qk_norm: true } : {}),
        ...(config.mlpBias ? { mlp_bias: true } : {}),
        use_rope: config.useRope,
        use_tokenshift: config.useTokenshift,
        balance_state: config.balanceState,
        groupnorm_att: config.groupnormAtt,
        gate_rank_type: config.gateRankType,
        ...writeRanks(config, hasRank),
        ...writeAttentionLayers(config),
        ...writeSlidingWindow(config, config.layers, others(config.attentionLayers, config.layers)),
      };
    },
  };
}

/**
 * `num_attention_layers` n keeps attention in the last n layers, as in the reference. A hybrid of
 * other layers lists them in `attention_layers`, a key of ours, beside their number: a reader that
 * knows the number only then misses tensors, rather than to compute something else.
 */
function readAttentionLayers(fields: Fields, layers: number): readonly number[] {
  const key = "attention_layers";
  const count = fields.count("num_attention_layers", 0);
  if (count > layers) fields.problem("num_attention_layers", `at most the ${layers} layers`);
  if (!fields.has(key)) return lastLayers(Math.min(count, layers), layers);
  const list = fields.json[key];
  const fits = Array.isArray(list) &&
    list.every((layer, i) =>
      Number.isInteger(layer) && layer >= 0 && layer < layers && (i === 0 || layer > list[i - 1])
    );
  if (!fits) fields.problem(key, `ascending layers from 0 to ${layers - 1}`);
  else if (fields.has("num_attention_layers") && count !== list.length) {
    fields.problem("num_attention_layers", `${list.length}, as many as attention_layers lists`);
  }
  return fits ? [...list] : [];
}

const lastLayers = (count: number, layers: number) => layersFrom(layers - count, layers);

/** The layers that are not listed. */
const others = (listed: readonly number[], layers: number) =>
  layersFrom(0, layers).filter((layer) => !listed.includes(layer));

function writeAttentionLayers({ attentionLayers, layers }: ConvertedConfig): JsonObject {
  const count = attentionLayers.length;
  const last = lastLayers(count, layers);
  return {
    num_attention_layers: count,
    ...(last.every((layer, i) => layer === attentionLayers[i])
      ? {}
      : { attention_layers: attentionLayers }),
  };
}

/** Every rank, null for one that the flags leave without tensors. */
function writeRanks(
  config: ConvertedConfig,
  hasRank: (rank: Rank, config: ConvertedConfig) => boolean,
): JsonObject {
  return Object.fromEntries((Object.keys(RANKS) as Rank[]).map((name) => {
    const used = hasRank(name, config);
    if (used && config[name] === null) {
      throw new RangeError(`${name} is not set: write the rank that the tensors have`);
    }
    return [RANKS[name], used ? config[name] : null];
  }));
}
