/** `qwen2`: Qwen2 and Qwen2.5. */
import { type DecoderConfig, readCommon, writeCommon } from "./decoder.ts";
import type { Family } from "./family.ts";
import { readSlidingWindow, writeSlidingWindow } from "./sliding_window.ts";

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
    return {
      modelType: "qwen2",
      ...common,
      ...readSlidingWindow(fields, common.layers),
      attentionBias: fields.flag("attention_bias", true),
      attentionOutputBias: fields.flag("attention_output_bias", false),
      attentionQkNorm: false,
      mlpBias: false,
    };
  },
  write(config) {
    if (config.mlpBias) throw new RangeError("qwen2 has no biases in its MLPs");
    if (config.attentionQkNorm) throw new RangeError("qwen2 does not norm its queries and keys");
    return {
      ...writeCommon(config),
      attention_bias: config.attentionBias,
      // transformers knows no such bias; the key is ours.
      ...(config.attentionOutputBias ? { attention_output_bias: true } : {}),
      ...writeSlidingWindow(config, config.layers),
    };
  },
};
