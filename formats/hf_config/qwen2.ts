/** `qwen2`: Qwen2 and Qwen2.5. */
import { type DecoderConfig, readCommon, refuseSlidingWindow, writeCommon } from "./decoder.ts";
import type { Family } from "./family.ts";

/** A Qwen2 decoder. Query, key and value have biases unless the file says otherwise. */
export interface Qwen2Config extends DecoderConfig {
  readonly modelType: "qwen2";
}

/** How `qwen2` is read and written. */
export const qwen2: Family<Qwen2Config> = {
  modelType: "qwen2",
  architecture: "Qwen2ForCausalLM",
  read(fields) {
    const common = readCommon(fields, { maxPositionEmbeddings: 32768 });
    refuseSlidingWindow(fields, common.layers);
    return {
      modelType: "qwen2",
      ...common,
      attentionBias: fields.flag("attention_bias", true),
      attentionOutputBias: fields.flag("attention_output_bias", false),
      mlpBias: false,
    };
  },
  write(config) {
    if (config.mlpBias) throw new RangeError("qwen2 has no biases in its MLPs");
    return {
      ...writeCommon(config),
      attention_bias: config.attentionBias,
      // transformers knows no such bias; the key is ours.
      ...(config.attentionOutputBias ? { attention_output_bias: true } : {}),
    };
  },
};
