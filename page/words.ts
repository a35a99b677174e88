/** Numbers and models in words. */

import { size } from "../graph/tensor.ts";
import type { MixerSpec, ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import type { Speed } from "./turns.ts";

const NAMES: Readonly<Record<MixerSpec["kind"], string>> = {
  attention: "attention",
  radRwkv6: "RAD-RWKV6",
  radRwkv7: "RAD-RWKV7",
};

/** A number with its thousands apart. */
export const countText = (count: number): string => count.toLocaleString("en");

/** What a model is: its layers by their mixers, its parameters. */
export function modelText(spec: ModelSpec): string {
  const kinds = new Map<string, number>();
  for (const { kind } of spec.mixers) kinds.set(NAMES[kind], (kinds.get(NAMES[kind]) ?? 0) + 1);
  const layers = [...kinds].map(([name, count]) => `${count} of ${name}`).join(", ");
  const parameters = modelParameters(spec).reduce((sum, { shape }) => sum + size(shape), 0);
  return `${spec.mixers.length} layers: ${layers}. ${countText(parameters)} parameters.`;
}

/** Whether the state of a model grows with its text, at least for a while. */
export const stateGrows = ({ mixers }: ModelSpec): boolean =>
  mixers.some(({ kind }) => kind === "attention");

/** A model's state. */
export function stateText(bytes: number, spec: ModelSpec): string {
  return `${countText(bytes)} bytes, ${stateGrows(spec) ? "growing with the text" : "constant"}`;
}

/** How fast a text is written. */
export function speedText({ promptSeconds, tokens, seconds }: Speed): string {
  const prompt = `prompt in ${promptSeconds.toFixed(2)} s`;
  return tokens === 0 ? prompt : `${(tokens / seconds).toFixed(1)} tokens/s, ${prompt}`;
}
