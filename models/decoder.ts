/** The pre-norm decoder that teachers and students share; only the mixers of the layers differ. */

import * as g from "../graph/build.ts";
import type { Shape, Tensor } from "../graph/tensor.ts";
import { attentionForward, attentionStateShapes } from "./attention.ts";
import type { DecoderConfig, MixerSpec, ModelSpec } from "./config.ts";
import type { MixerInput, MixerOutput } from "./mixer.ts";
import { type Initial, ones, type Parameter, zeros } from "./parameter.ts";
import { projection, projectionParameters } from "./projections.ts";
import { radRwkv6Forward, radRwkv6Parameters, radRwkv6StateShapes } from "./rad_rwkv6.ts";
import { radRwkv7Forward, radRwkv7Parameters, radRwkv7StateShapes } from "./rad_rwkv7.ts";

/** The start of a layer's parameter names. */
export const layerPrefix = (layer: number): string => `model.layers.${layer}.`;
/** The start of a mixer's parameter names. */
export const mixerPrefix = (layer: number): string => `${layerPrefix(layer)}self_attn.`;

/** Parameters of a layer's mixer. */
export function mixerParameters(
  config: DecoderConfig,
  mixer: MixerSpec,
  layer: number,
): Parameter[] {
  const prefix = mixerPrefix(layer);
  switch (mixer.kind) {
    case "attention":
      return projectionParameters(config, prefix);
    case "radRwkv6":
      return radRwkv6Parameters(config, mixer, layer, prefix);
    case "radRwkv7":
      return radRwkv7Parameters(config, mixer, layer, prefix);
    default:
      return mixer satisfies never;
  }
}

/** Runs a layer's mixer. */
export function mixerForward(mixer: MixerSpec, input: MixerInput): MixerOutput {
  switch (mixer.kind) {
    case "attention":
      return attentionForward(mixer, input);
    case "radRwkv6":
      return radRwkv6Forward(mixer, input);
    case "radRwkv7":
      return radRwkv7Forward(mixer, input);
    default:
      return mixer satisfies never;
  }
}

/** Shapes of a layer's state by name. */
export function mixerStateShapes(
  config: DecoderConfig,
  mixer: MixerSpec,
  batch: number,
  capacity: number,
): Readonly<Record<string, Shape>> {
  switch (mixer.kind) {
    case "attention":
      return attentionStateShapes(config, mixer, batch, capacity);
    case "radRwkv6":
      return radRwkv6StateShapes(config, mixer, batch);
    case "radRwkv7":
      return radRwkv7StateShapes(config, batch, capacity);
    default:
      return mixer satisfies never;
  }
}

/** Every parameter of a model, in the order of its checkpoint. */
export function modelParameters({ config, mixers }: ModelSpec): Parameter[] {
  const { vocabSize, hiddenSize, intermediateSize, mlpBias } = config;
  const other = (name: string, shape: Shape, initial: Initial): Parameter => ({
    name,
    shape,
    initial,
    mixer: false,
  });
  const mlp = (prefix: string, name: string, rows: number, columns: number) => [
    other(`${prefix}mlp.${name}.weight`, [rows, columns], projection),
    ...(mlpBias ? [other(`${prefix}mlp.${name}.bias`, [rows], zeros)] : []),
  ];
  const layer = (mixer: MixerSpec, index: number): Parameter[] => {
    const prefix = layerPrefix(index);
    return [
      other(`${prefix}input_layernorm.weight`, [hiddenSize], ones),
      ...mixerParameters(config, mixer, index),
      other(`${prefix}post_attention_layernorm.weight`, [hiddenSize], ones),
      ...mlp(prefix, "gate_proj", intermediateSize, hiddenSize),
      ...mlp(prefix, "up_proj", intermediateSize, hiddenSize),
      ...mlp(prefix, "down_proj", hiddenSize, intermediateSize),
    ];
  };
  return [
    other("model.embed_tokens.weight", [vocabSize, hiddenSize], projection),
    ...mixers.flatMap(layer),
    other("model.norm.weight", [hiddenSize], ones),
    ...(config.tieWordEmbeddings
      ? []
      : [other("lm_head.weight", [vocabSize, hiddenSize], projection)]),
  ];
}

/** The inputs of a decoder. */
export interface DecoderInput {
  /** Token ids, i32 [batch, time]. */
  readonly ids: Tensor;
  /** A parameter by name. */
  readonly weight: (name: string) => Tensor;
  /** Rotary tables, [batch or 1, time, headDim/2]. */
  readonly cosine: Tensor;
  readonly sine: Tensor;
  /** The state of every layer, and the position of the first token, i32 [batch]. */
  readonly states?: readonly Readonly<Record<string, Tensor>>[];
  readonly start?: Tensor;
}

/** What a mixer saw and said, for stage 1. */
export interface MixerTrace {
  /** The normed residual stream, [batch, time, hidden]. */
  readonly x: Tensor;
  /** After the output projection, [batch, time, hidden]. */
  readonly y: Tensor;
  /** The mixer's values, [batch, time, heads, headDim]. */
  readonly value: Tensor;
}

/** The outputs of a decoder. */
export interface DecoderOutput {
  /** After the last norm, [batch·time, hidden]. */
  readonly hidden: Tensor;
  /** The output embedding, [vocabulary, hidden]. */
  readonly head: Tensor;
  readonly traces: readonly MixerTrace[];
  /** The residual stream before every layer and after the last, [batch, time, hidden]. */
  readonly streams: readonly Tensor[];
  readonly states: readonly Readonly<Record<string, Tensor>>[];
}

function mlpForward(
  { mlpBias }: DecoderConfig,
  x: Tensor,
  weight: (name: string) => Tensor,
): Tensor {
  const through = (name: string, t: Tensor) =>
    g.linear(t, weight(`mlp.${name}.weight`), mlpBias ? weight(`mlp.${name}.bias`) : undefined);
  return through("down_proj", g.mul(g.silu(through("gate_proj", x)), through("up_proj", x)));
}

/** The forward pass of a decoder. */
export function decoderForward({ config, mixers }: ModelSpec, input: DecoderInput): DecoderOutput {
  const { ids, weight, cosine, sine, states, start } = input;
  const { rmsNormEps, hiddenSize } = config;
  const embeddings = weight("model.embed_tokens.weight");
  const traces: MixerTrace[] = [];
  const after: Readonly<Record<string, Tensor>>[] = [];
  let stream = g.embedding(embeddings, ids);
  const streams = [stream];
  let firstValue: Tensor | undefined;
  mixers.forEach((mixer, layer) => {
    const own = (name: string) => weight(`${layerPrefix(layer)}${name}`);
    const x = g.rmsNorm(stream, own("input_layernorm.weight"), rmsNormEps);
    const { y, value, state } = mixerForward(mixer, {
      config,
      layer,
      x,
      weight: (name) => own(`self_attn.${name}`),
      cosine,
      sine,
      firstValue,
      state: states?.[layer],
      start,
    });
    firstValue ??= value;
    traces.push({ x, y, value });
    after.push(state);
    stream = g.add(stream, y);
    const normed = g.rmsNorm(stream, own("post_attention_layernorm.weight"), rmsNormEps);
    stream = g.add(stream, mlpForward(config, normed, own));
    streams.push(stream);
  });
  const last = g.rmsNorm(stream, weight("model.norm.weight"), rmsNormEps);
  return {
    hidden: g.reshape(last, [ids.shape[0] * ids.shape[1], hiddenSize]),
    head: config.tieWordEmbeddings ? embeddings : weight("lm_head.weight"),
    traces,
    streams,
    states: after,
  };
}
