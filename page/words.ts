/** Numbers and models in words. */

import { size } from "../graph/tensor.ts";
import { stateBytes } from "../infer/state.ts";
import type { MixerSpec, ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import type { Speed } from "./turns.ts";

const NAMES: Readonly<Record<MixerSpec["kind"], string>> = {
  attention: "attention",
  radRwkv6: "RAD-RWKV6",
  radRwkv7: "RAD-RWKV7",
};

/** Tokens of a long text, for which states are told. */
export const LONG_TEXT = 32_768;

/** Three digits and a unit: 1.14M, 7.62B. */
const countText = (count: number): string =>
  count.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });

/** Bytes as 512 B, 1.5 KiB, 64 MiB. */
export function bytesText(bytes: number): string {
  const unit = Math.min(4, Math.max(0, Math.floor(Math.log2(bytes) / 10)));
  const value = (bytes / 1024 ** unit).toLocaleString("en", { maximumFractionDigits: 1 });
  return `${value} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

/** What a model is: its layers by their mixers, its parameters. */
export function modelText(spec: ModelSpec): string {
  const kinds = new Map<string, number>();
  for (const { kind } of spec.mixers) kinds.set(NAMES[kind], (kinds.get(NAMES[kind]) ?? 0) + 1);
  const parts = [...kinds].map(([name, count]) => `${count} of ${name}`);
  const all = `${spec.mixers.length} layer${spec.mixers.length === 1 ? "" : "s"}`;
  const layers = kinds.size === 1
    ? `${all} of ${[...kinds.keys()]}`
    : `${all}: ${parts.join(", ")}`;
  const parameters = modelParameters(spec).reduce((sum, { shape }) => sum + size(shape), 0);
  return `${layers}; ${countText(parameters)} parameters`;
}

/** Whether the state of a model grows with its text, at least for a while. */
const stateGrows = ({ mixers }: ModelSpec): boolean =>
  mixers.some(({ kind }) => kind === "attention");

/** A model's state after some tokens of a text, and where it goes. */
export function stateText(spec: ModelSpec, tokens: number): string {
  const now = bytesText(stateBytes(spec, 1, tokens));
  if (!stateGrows(spec)) return `${now}, constant`;
  if (tokens >= LONG_TEXT) return `${now}, growing with the text`;
  const then = stateBytes(spec, 1, LONG_TEXT);
  return `${now}, growing to ${bytesText(then)} at 32K tokens`;
}

/** How fast a text is written. */
export function speedText({ promptSeconds, tokens, seconds }: Speed): string {
  const prompt = `prompt in ${promptSeconds.toFixed(2)} s`;
  return tokens === 0 ? prompt : `${(tokens / seconds).toFixed(1)} tokens/s, ${prompt}`;
}
