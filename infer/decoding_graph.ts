/** The graph that takes tokens of texts: from ids and states to logits, greedy ids and new states. */

import * as g from "../graph/build.ts";
import type { Shape, Tensor } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { decoderForward } from "../models/decoder.ts";
import { greedyPlaces } from "./sampler.ts";

/** Tensors of every layer, by the names of its mixer's state. */
type LayerTensors = readonly Readonly<Record<string, Tensor>>[];

/** What the graph computes. */
export interface DecodingGraph {
  /** After the last token of every text, [batch, vocabulary]. */
  readonly logits: Tensor;
  /** The ids of the largest logits, [batch, 1], as f32. */
  readonly places: Tensor;
  readonly states: LayerTensors;
}

/** Where a state lies among a graph's inputs. */
export const stateInput = (layer: number, name: string): string => `state.${layer}.${name}`;

/**
 * Takes `length` tokens of every text. Inputs: `ids` [batch, length], the rotary tables `cosine` and
 * `sine` [batch, length, head width / 2], `start` [batch], the states, and the weights.
 * @param shapes of every layer's states
 */
export function decodingGraph(
  spec: ModelSpec,
  [batch, length]: readonly [batch: number, length: number],
  weight: (name: string) => Tensor,
  shapes: readonly Readonly<Record<string, Shape>>[],
): DecodingGraph {
  const { headDim, hiddenSize } = spec.config;
  const tables = [batch, length, headDim / 2];
  const named = (own: Readonly<Record<string, Shape>>, layer: number) =>
    Object.entries(own).map(([name, shape]) => [name, g.input(stateInput(layer, name), shape)]);
  const output = decoderForward(spec, {
    ids: g.input("ids", [batch, length], "i32"),
    cosine: g.input("cosine", tables),
    sine: g.input("sine", tables),
    weight,
    states: shapes.map((own, layer) => Object.fromEntries(named(own, layer))),
    start: g.input("start", [batch], "i32"),
  });
  const hidden = g.reshape(output.hidden, [batch, length, hiddenSize]);
  const last = g.reshape(g.slice(hidden, 1, length - 1, length), [batch, hiddenSize]);
  const logits = g.matmul(last, output.head, { transposeB: true });
  return { logits, places: greedyPlaces(logits), states: output.states };
}
