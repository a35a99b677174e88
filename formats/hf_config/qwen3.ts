/** `qwen3`: the dense decoders of Qwen3. */
import { type DecoderConfig, readCommon, writeCommon } from "./decoder.ts";
import type { Family } from "./family.ts";
import { readSlidingWindow, writeSlidingWindow } from "./sliding_window.ts";

/**
 * A Qwen3 decoder: every head of queries and keys goes through an RMSNorm before it is turned, and
 * the width of heads stands for itself. One key says whether all attention projections have biases.
 */
export interface Qwen3Config extends DecoderConfig {
  readonly modelType: "qwen3";
}

/** How `qwen3` is read and written. */
export const qwen3: Family<Qwen3Config> = {
  modelType: "qwen3",
  architecture: "Qwen3ForCausalLM",
  read(fields) {
    const common = readCommon(fields, { maxPositionEmbeddings: 32768, headDim: 128 });
    const attentionBias = fields.flag("attention_bias", false);
    return {
      modelType: "qwen3",
      ...common,
      ...readSlidingWindow(fields, common.layers),
      attentionBias,
      attentionOutputBias: attentionBias,
      attentionQkNorm: true,
      mlpBias: false,
    };
  },
  write(config) {
    if (config.attentionBias !== config.attentionOutputBias) {
      throw new RangeError("qwen3 has biases in all attention projections or in none");
    }
    if (config.mlpBias) throw new RangeError("qwen3 has no biases in its MLPs");
    if (!config.attentionQkNorm) throw new RangeError("qwen3 norms its queries and keys");
    return {
      ...writeCommon(config),
      attention_bias: config.attentionBias,
      ...writeSlidingWindow(config, config.layers),
    };
  },
};
