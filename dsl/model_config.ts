/** The shape of a model that does not exist yet, by the keys of a Hugging Face config.json. */
import {
  type At,
  boolean,
  defaulted,
  inside,
  integer,
  number,
  object,
  oneOf,
  optional,
  type Reader,
  refuseAs,
  required,
  sound,
} from "./schema.ts";

/**
 * A model's shape, everything written out; only `vocab_size` is absent where a tokenizer file
 * decides it.
 */
export interface ModelConfig {
  /** The family, as transformers calls it. */
  readonly model_type: "qwen2" | "qwen3" | "llama";
  /** Rows of the embeddings. Default: the tokenizer's pieces. */
  readonly vocab_size?: number;
  /** Width of the residual stream, C. */
  readonly hidden_size: number;
  /** Width of the MLPs. */
  readonly intermediate_size: number;
  /** Layers. */
  readonly num_hidden_layers: number;
  /** Query heads. */
  readonly num_attention_heads: number;
  /** Key/value heads, a divisor of the query heads. Default: as many. */
  readonly num_key_value_heads: number;
  /** Width of a head, even. Default: hidden_size / num_attention_heads. */
  readonly head_dim: number;
  /** ε of the RMSNorms. Default 1e-6. */
  readonly rms_norm_eps: number;
  /** Base of the rotary wavelengths. Default 10,000. */
  readonly rope_theta: number;
  /** Biases of q, k and v; in llama and qwen3 of o too. Default true for qwen2, else false. */
  readonly attention_bias: boolean;
  /** Whether the head is the embeddings. Default false. */
  readonly tie_word_embeddings: boolean;
  /** The longest context that config.json promises. Default 32,768. */
  readonly max_position_embeddings: number;
  /** Standard deviation of the initial weights. Default 0.02. */
  readonly initializer_range: number;
}

type RequiredKeys =
  | "model_type"
  | "hidden_size"
  | "intermediate_size"
  | "num_hidden_layers"
  | "num_attention_heads";

/** What an author writes of a config; the rest has Hugging Face's defaults. */
export type ModelConfigOptions =
  & Pick<ModelConfig, RequiredKeys>
  & Partial<Omit<ModelConfig, RequiredKeys>>;

/** What the rest decides where it is not written. */
type DerivedKeys = "num_key_value_heads" | "head_dim" | "attention_bias";
type WrittenConfig = Omit<ModelConfig, DerivedKeys> & Partial<Pick<ModelConfig, DerivedKeys>>;

/** Wider and deeper than any known model, and small enough for exact products of widths. */
const WIDTH_LIMIT = 2 ** 20;
const LAYER_LIMIT = 1_024;
const VOCABULARY_LIMIT = 2 ** 24;

const width = integer(1, WIDTH_LIMIT);
const positive = number("a number above 0", (value) => value > 0);

const readWritten = object<WrittenConfig>("a config with the keys of config.json", {
  model_type: required(oneOf("qwen2", "qwen3", "llama")),
  vocab_size: optional(integer(1, VOCABULARY_LIMIT)),
  hidden_size: required(width),
  intermediate_size: required(width),
  num_hidden_layers: required(integer(1, LAYER_LIMIT)),
  num_attention_heads: required(width),
  num_key_value_heads: optional(width),
  head_dim: optional(width),
  rms_norm_eps: defaulted(positive, 1e-6),
  rope_theta: defaulted(positive, 10_000),
  attention_bias: optional(boolean),
  tie_word_embeddings: defaulted(boolean, false),
  max_position_embeddings: defaulted(integer(1), 32_768),
  initializer_range: defaulted(positive, 0.02),
});

/** Reads a config and derives what follows from the rest, as Hugging Face does. */
export const readModelConfig: Reader<ModelConfig> = (value, at) => {
  const written = readWritten(value, at);
  if (written === undefined) return written;
  const { model_type, hidden_size, num_attention_heads: heads } = written;
  const config = {
    ...written,
    num_key_value_heads: written.num_key_value_heads ?? heads,
    head_dim: written.head_dim ?? hidden_size / heads,
    attention_bias: written.attention_bias ?? model_type === "qwen2",
  } satisfies ModelConfig;
  const groups = config.num_key_value_heads;
  if (sound(at, "num_attention_heads", "num_key_value_heads") && heads % groups !== 0) {
    const expected = `a divisor of the ${heads} attention heads`;
    refuseAs(inside(at, "num_key_value_heads"), expected, `${groups}`);
  }
  if (sound(at, "hidden_size", "num_attention_heads", "head_dim")) checkHeads(config, at);
  if (model_type === "qwen2" && config.attention_bias === false) {
    refuseAs(inside(at, "attention_bias"), "true, as qwen2 always has it", "false");
  }
  return Object.freeze(config);
};

/** Heads are whole, and have two halves for the rotary embedding to turn. */
function checkHeads({ hidden_size, num_attention_heads, head_dim }: ModelConfig, at: At): void {
  if (!Number.isInteger(head_dim)) {
    const expected = `a multiple of the ${num_attention_heads} heads, or a head_dim beside it`;
    refuseAs(inside(at, "hidden_size"), expected, `${hidden_size}`);
  } else if (head_dim % 2 !== 0) {
    refuseAs(inside(at, "head_dim"), "an even width of the heads", `${head_dim}`);
  }
}
