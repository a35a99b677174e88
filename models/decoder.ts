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

/** The names of the parameters outside the layers. */
export const EMBEDDINGS = "model.embed_tokens.weight";
export const LAST_NORM = "model.norm.weight";
const HEAD = "lm_head.weight";

/** The name of the output embedding, [vocabulary, hidden]. */
export const headName = ({ tieWordEmbeddings }: DecoderConfig): string =>
  tieWordEmbeddings ? EMBEDDINGS : HEAD;

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

/** Shapes of a layer's state by name; `capacity` is the number of tokens a cache can hold. */
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
      return radRwkv7StateShapes(config, batch);
    default:
      return mixer satisfies never;
  }
}

const other = (name: string, shape: Shape, initial: Initial): Parameter => ({
  name,
  shape,
  initial,
  mixer: false,
});

/** Every parameter of a layer with this mixer, in the order of its checkpoint. */
export function layerParameters(
  config: DecoderConfig,
  mixer: MixerSpec,
  layer: number,
): Parameter[] {
  const { hiddenSize, intermediateSize, mlpBias } = config;
  const prefix = layerPrefix(layer);
  const mlp = (name: string, rows: number, columns: number) => [
    other(`${prefix}mlp.${name}.weight`, [rows, columns], projection),
    ...(mlpBias ? [other(`${prefix}mlp.${name}.bias`, [rows], zeros)] : []),
  ];
  return [
    other(`${prefix}input_layernorm.weight`, [hiddenSize], ones),
    ...mixerParameters(config, mixer, layer),
    other(`${prefix}post_attention_layernorm.weight`, [hiddenSize], ones),
    ...mlp("gate_proj", intermediateSize, hiddenSize),
    ...mlp("up_proj", intermediateSize, hiddenSize),
    ...mlp("down_proj", hiddenSize, intermediateSize),
  ];
}

/** Every parameter of a model, in the order of its checkpoint. */
export function modelParameters({ config, mixers }: ModelSpec): Parameter[] {
  const { vocabSize, hiddenSize } = config;
  return [
    other(EMBEDDINGS, [vocabSize, hiddenSize], projection),
    ...mixers.flatMap((mixer, layer) => layerParameters(config, mixer, layer)),
    other(LAST_NORM, [hiddenSize], ones),
    ...(config.tieWordEmbeddings ? [] : [other(HEAD, [vocabSize, hiddenSize], projection)]),
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

/** The inputs of a layer; what a mixer is given but for its norm's output. */
export interface LayerInput extends Omit<MixerInput, "x"> {
  /** The residual stream before the layer, [batch, time, hidden]. */
  readonly stream: Tensor;
  /** A parameter of the layer by its name under `model.layers.N.`. */
  readonly weight: (name: string) => Tensor;
}

/** The outputs of a layer. */
export interface LayerOutput extends MixerTrace {
  /** The residual stream after the layer, [batch, time, hidden]. */
  readonly stream: Tensor;
  readonly state: Readonly<Record<string, Tensor>>;
}

/** The forward pass of one layer. */
export function layerForward(mixer: MixerSpec, input: LayerInput): LayerOutput {
  const { stream: before, weight: own, ...rest } = input;
  const { config } = input;
  const x = g.rmsNorm(before, own("input_layernorm.weight"), config.rmsNormEps);
  const { y, value, state } = mixerForward(mixer, {
    ...rest,
    x,
    weight: (name) => own(`self_attn.${name}`),
  });
  const between = g.add(before, y);
  const normed = g.rmsNorm(between, own("post_attention_layernorm.weight"), config.rmsNormEps);
  return { x, y, value, state, stream: g.add(between, mlpForward(config, normed, own)) };
}

/** The forward pass of a decoder. */
export function decoderForward({ config, mixers }: ModelSpec, input: DecoderInput): DecoderOutput {
  const { ids, weight, cosine, sine, states, start } = input;
  const { rmsNormEps, hiddenSize } = config;
  const traces: MixerTrace[] = [];
  const after: Readonly<Record<string, Tensor>>[] = [];
  let stream = g.embedding(weight(EMBEDDINGS), ids);
  const streams = [stream];
  let firstValue: Tensor | undefined;
  mixers.forEach((mixer, layer) => {
    const { x, y, value, state, stream: next } = layerForward(mixer, {
      config,
      layer,
      stream,
      weight: (name) => weight(`${layerPrefix(layer)}${name}`),
      cosine,
      sine,
      firstValue,
      state: states?.[layer],
      start,
    });
    firstValue ??= value;
    traces.push({ x, y, value });
    after.push(state);
    stream = next;
    streams.push(stream);
  });
  const last = g.rmsNorm(stream, weight(LAST_NORM), rmsNormEps);
  return {
    hidden: g.reshape(last, [ids.shape[0] * ids.shape[1], hiddenSize]),
    head: weight(headName(config)),
    traces,
    streams,
    states: after,
  };
}
