/** `llama`: Llama 2 and 3, SmolLM, and others of their form. */
import { type DecoderConfig, readCommon, refuseSlidingWindow, writeCommon } from "./decoder.ts";
import type { Family } from "./family.ts";

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
    refuseSlidingWindow(fields, common.layers);
    const attentionBias = fields.flag("attention_bias", false);
    return {
      modelType: "llama",
      ...common,
      attentionBias,
      attentionOutputBias: attentionBias,
      mlpBias: fields.flag("mlp_bias", false),
    };
  },
  write(config) {
    if (config.attentionBias !== config.attentionOutputBias) {
      throw new RangeError("llama has biases in all attention projections or in none");
    }
    return {
      ...writeCommon(config),
      attention_bias: config.attentionBias,
      mlp_bias: config.mlpBias,
    };
  },
};
