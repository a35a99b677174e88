/** `rwkv7qwen2`: a decoder whose attention was converted to RAD-RWKV7, in all layers or in some. */
import { type ConvertedConfig, convertedFamily } from "./converted.ts";

/** A RAD-RWKV7 decoder. */
export interface Rwkv7Qwen2Config extends ConvertedConfig {
  readonly modelType: "rwkv7qwen2";
}

/** How `rwkv7qwen2` is read and written. */
export const rwkv7qwen2 = convertedFamily({
  modelType: "rwkv7qwen2",
  architecture: "RWKV7Qwen2ForCausalLM",
  // Some files do not mention it.
  tokenshift: false,
  hasRank: (rank, { useTokenshift, gateRankType }) =>
    rank === "loraRankTokenshift" ? useTokenshift : rank !== "loraRankGate" || gateRankType === 2,
});
