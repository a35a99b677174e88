/** `llama`: Llama 2 and 3, SmolLM, and others of their form. */
import { type DecoderConfig, readCommon, writeCommon } from "./decoder.ts";
import type { Family } from "./family.ts";
import { NO_WINDOW, readSlidingWindow } from "./sliding_window.ts";

/** A Llama decoder. One key says whether all four attention projections have biases. */
export interface LlamaConfig extends DecoderConfig {
  readonly modelType: "llama";
}

/** How `llama` is read and written. */
export const llama: Family<LlamaConfig> = {
  modelType: "llama",
  architecture: "LlamaForCausalLM",
  read(fields) {
    const common = readCommon(fields, { maxPositionEmbeddings: 2048 });
    if (readSlidingWindow(fields, common.layers).slidingLayers.length > 0) {
      fields.problem("use_sliding_window", "false", "llama has no attention windows");
    }
    const attentionBias = fields.flag("attention_bias", false);
    return {
      modelType: "llama",
      ...common,
      ...NO_WINDOW,
      attentionBias,
      attentionOutputBias: attentionBias,
      attentionQkNorm: false,
      mlpBias: fields.flag("mlp_bias", false),
    };
  },
  write(config) {
    if (config.attentionBias !== config.attentionOutputBias) {
      throw new RangeError("llama has biases in all attention projections or in none");
    }
    if (config.attentionQkNorm) throw new RangeError("llama does not norm its queries and keys");
    if (config.slidingWindow !== null) throw new RangeError("llama has no attention windows");
    return {
      ...writeCommon(config),
      attention_bias: config.attentionBias,
      mlp_bias: config.mlpBias,
    };
  },
};
