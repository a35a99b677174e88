/** `rwkv6qwen2`: a decoder whose attention was converted to RAD-RWKV6, in all layers or in some. */
import { type ConvertedConfig, convertedFamily } from "./converted.ts";

/** A RAD-RWKV6 decoder. */
export interface Rwkv6Qwen2Config extends ConvertedConfig {
  readonly modelType: "rwkv6qwen2";
}

/** How `rwkv6qwen2` is read and written. */
export const rwkv6qwen2 = convertedFamily({
  modelType: "rwkv6qwen2",
  architecture: "RWKV6Qwen2ForCausalLM",
  tokenshift: true,
  hasRank: (rank, { useTokenshift, gateRankType }) =>
    rank === "loraRankDecay" || rank === "loraRankTokenshift" && useTokenshift ||
    rank === "loraRankGate" && gateRankType === 2,
});
