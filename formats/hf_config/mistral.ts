/** `mistral`: Mistral 7B and others of its form. */
import { type DecoderConfig, readCommon, writeCommon } from "./decoder.ts";
import type { Family } from "./family.ts";
import { layersFrom, NO_WINDOW, readWindow } from "./sliding_window.ts";

/** A Mistral decoder: no biases; where there is a window, every layer has it. */
export interface MistralConfig extends DecoderConfig {
  readonly modelType: "mistral";
}

/** How `mistral` is read and written. */
export const mistral: Family<MistralConfig> = {
  modelType: "mistral",
  architecture: "MistralForCausalLM",
  read(fields) {
    const common = readCommon(fields, { maxPositionEmbeddings: 131072, keyValueHeads: 8 });
    const slidingWindow = readWindow(fields);
    const type = slidingWindow === null ? "full_attention" : "sliding_attention";
    const { layer_types } = fields.json;
    if (Array.isArray(layer_types) && layer_types.some((other) => other !== type)) {
      fields.problem("layer_types", `"${type}" for every layer, as sliding_window says`);
    }
    return {
      modelType: "mistral",
      ...common,
      ...(slidingWindow === null
        ? NO_WINDOW
        : { slidingWindow, slidingLayers: layersFrom(0, common.layers) }),
      attentionBias: false,
      attentionOutputBias: false,
      attentionQkNorm: false,
      mlpBias: false,
    };
  },
  write(config) {
    if (config.attentionBias || config.attentionOutputBias || config.mlpBias) {
      throw new RangeError("mistral has no biases");
    }
    if (config.attentionQkNorm) throw new RangeError("mistral does not norm its queries and keys");
    const { slidingWindow, slidingLayers, layers } = config;
    if (slidingWindow !== null && slidingLayers.length !== layers) {
      throw new RangeError("mistral has a window in every layer or in none");
    }
    return { ...writeCommon(config), sliding_window: slidingWindow };
  },
};
