/** What every decoder's config.json says, whichever family it is of. */
import type { JsonObject } from "../json.ts";
import type { Fields } from "./fields.ts";
import { readRope, type RopeScaling, writeRope } from "./rope.ts";
import type { SlidingWindow } from "./sliding_window.ts";

/** Deeper models are taken for damage: ten times the deepest. */
const LAYER_LIMIT = 4096;

/** Type of the weights, as config.json names it. */
export type TorchDtype = "float64" | "float32" | "float16" | "bfloat16";

const TORCH_DTYPES: readonly TorchDtype[] = ["float64", "float32", "float16", "bfloat16"];

/** A decoder-only transformer with RMSNorm, gated SiLU MLPs and grouped-query heads. */
export interface DecoderConfig extends SlidingWindow {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly attentionHeads: number;
  readonly keyValueHeads: number;
  /** Width of a head; not always hiddenSize / attentionHeads. */
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  readonly maxPositionEmbeddings: number;
  /** Whether the head is the embedding, so that there is no `lm_head.weight`. */
  readonly tieWordEmbeddings: boolean;
  /** Whether the query, key and value projections have biases. */
  readonly attentionBias: boolean;
  /** Whether the output projection has one. */
  readonly attentionOutputBias: boolean;
  /** Whether every query and key head goes through an RMSNorm before it is turned. */
  readonly attentionQkNorm: boolean;
  readonly mlpBias: boolean;
  readonly bosTokenId: number | null;
  /** Every token that ends a text; may be empty. */
  readonly eosTokenIds: readonly number[];
  readonly torchDtype: TorchDtype | null;
}

/** What families differ in when a key is absent. */
export interface DecoderDefaults {
  readonly maxPositionEmbeddings: number;
  /** Without it as many as attention heads. */
  readonly keyValueHeads?: number;
  /** Without it hidden_size / num_attention_heads. */
  readonly headDim?: number;
}

/** A DecoderConfig without what families call by different keys. */
export type CommonConfig = Omit<
  DecoderConfig,
  "attentionBias" | "attentionOutputBias" | "attentionQkNorm" | "mlpBias" | keyof SlidingWindow
>;

/** Reads the keys that all families share. */
export function readCommon(fields: Fields, defaults: DecoderDefaults): CommonConfig {
  const attentionHeads = fields.size("num_attention_heads");
  // Unlike a file without the key, one that says null has as many as heads.
  const unsaid = fields.json.num_key_value_heads === undefined && defaults.keyValueHeads;
  const keyValueHeads = fields.size("num_key_value_heads", unsaid || attentionHeads);
  const hiddenSize = fields.size("hidden_size");
  const wholeHead = Math.max(1, Math.floor(hiddenSize / attentionHeads));
  const headDim = fields.size("head_dim", defaults.headDim ?? wholeHead);
  const derived = !fields.has("head_dim") && defaults.headDim === undefined;
  if (derived && hiddenSize % attentionHeads !== 0) {
    fields.problem("hidden_size", `a multiple of ${attentionHeads} heads, or a head_dim`);
  } else if (headDim % 2 !== 0) {
    fields.problem(
      fields.has("head_dim") ? "head_dim" : "hidden_size",
      "heads of an even width",
      "rotary embeddings turn pairs",
    );
  }
  if (attentionHeads % keyValueHeads !== 0) {
    fields.problem("num_key_value_heads", `a divisor of ${attentionHeads} heads`);
  }
  if (fields.json.hidden_act !== undefined && fields.json.hidden_act !== "silu") {
    fields.problem("hidden_act", '"silu"', "other activations are not implemented");
  }
  if (fields.has("quantization_config")) {
    fields.problem("quantization_config", "nothing", "use the checkpoint before quantisation");
  }
  const maxPositionEmbeddings = fields.size(
    "max_position_embeddings",
    defaults.maxPositionEmbeddings,
  );
  return {
    vocabSize: fields.size("vocab_size"),
    hiddenSize,
    intermediateSize: fields.size("intermediate_size"),
    layers: fields.size("num_hidden_layers", undefined, LAYER_LIMIT),
    attentionHeads,
    keyValueHeads,
    headDim,
    rmsNormEps: fields.positive("rms_norm_eps", 1e-6),
    ...readRope(fields, maxPositionEmbeddings),
    maxPositionEmbeddings,
    tieWordEmbeddings: fields.flag("tie_word_embeddings", false),
    bosTokenId: fields.id("bos_token_id"),
    eosTokenIds: fields.ids("eos_token_id"),
    torchDtype: readTorchDtype(fields),
  };
}

/** `torch_dtype`, which transformers 5 calls `dtype`; both may say `torch.bfloat16`. */
function readTorchDtype(fields: Fields): TorchDtype | null {
  const key = ["dtype", "torch_dtype"].find((name) => fields.has(name));
  if (key === undefined) return null;
  const name = String(fields.json[key]).replace(/^torch\./, "");
  const dtype = TORCH_DTYPES.find((known) => known === name);
  if (dtype === undefined) fields.problem(key, `one of ${TORCH_DTYPES.join(", ")}`);
  return dtype ?? null;
}

/** The keys that all families share, as transformers 4 and 5 both read them. */
export function writeCommon(config: CommonConfig): JsonObject {
  return {
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.attentionHeads,
    num_key_value_heads: config.keyValueHeads,
    head_dim: config.headDim,
    hidden_act: "silu",
    rms_norm_eps: config.rmsNormEps,
    ...writeRope(config),
    max_position_embeddings: config.maxPositionEmbeddings,
    tie_word_embeddings: config.tieWordEmbeddings,
    bos_token_id: config.bosTokenId,
    eos_token_id: writeIds(config.eosTokenIds),
    ...(config.torchDtype === null ? {} : { torch_dtype: config.torchDtype }),
  };
}

function writeIds(ids: readonly number[]): number | readonly number[] | null {
  if (ids.length === 0) return null;
  return ids.length === 1 ? ids[0] : ids;
}
