import { assertEquals } from "@std/assert";
import { layers, radRwkv7, validate } from "../../mod.ts";
import { describe } from "../../dsl/problem.ts";
import { loose, pretraining, type Spoilt } from "./example.ts";

const problems = (value: unknown) => validate(value).map(describe);

const SPOILT: readonly Spoilt[] = [
  [
    "surgery",
    (r) => r.surgery = [layers.all.to(radRwkv7())],
    "surgery: expected no rules, because a new model has nothing to convert, found a list of 1",
  ],
  [
    "distilling from nothing",
    (r) => r.stages[0].kind = "distill",
    "stages[0]: expected pretrain, because a new model has no teacher to learn from, found distill",
  ],
  [
    "training mixers",
    (r) => r.stages[0].trains = "mixers",
    'stages[0].trains: expected "everything" or match(…), because a new model has no converted layers, found "mixers"',
  ],
  [
    "a stage without size",
    (r) => r.stages[0] = { kind: "pretrain" },
    "stages[0].tokens: expected a whole number from 1, found nothing",
    "stages[0].context: expected a multiple of 16, found nothing",
    "stages[0].batch: expected a whole number from 1 to 65536, found nothing",
    "stages[0].lr: expected a schedule: constant(lr), cosine(init, final), linear(init, final) or " +
    "cosineBetween(init, final, from, to), found nothing",
  ],
  [
    "family",
    (r) => r.teacher.config.model_type = "qwen9",
    'teacher.config.model_type: expected "qwen2", "qwen3" or "llama", found "qwen9"; did you mean "qwen2"?',
  ],
  [
    "heads",
    (r) => r.teacher.config.num_attention_heads = 3,
    "teacher.config.num_key_value_heads: expected a divisor of the 3 attention heads, found 2",
  ],
  [
    "width of heads",
    (r) => (delete r.teacher.config.head_dim, r.teacher.config.hidden_size = 129),
    "teacher.config.hidden_size: expected a multiple of the 2 heads, or a head_dim beside it, found 129",
  ],
  [
    "odd heads",
    (r) => r.teacher.config.head_dim = 63,
    "teacher.config.head_dim: expected an even width of the heads, found 63",
  ],
  [
    "bias",
    (r) => r.teacher.config.attention_bias = false,
    "teacher.config.attention_bias: expected true, as qwen2 always has it, found false",
  ],
  [
    "vocabulary",
    (r) => r.teacher.config.vocab_size = 2047,
    "teacher.config.vocab_size: expected at least the tokenizer's 2048 pieces, found 2047",
  ],
  [
    "pieces",
    (r) => (r.teacher.tokenizer.pieces = 256),
    "teacher.tokenizer.pieces: expected at least 257: 256 bytes and the special tokens, found 256",
  ],
  [
    "a tokenizer from tokens",
    (r) => r.data = [{ kind: "binidx", prefix: "x" }],
    "data: expected text(…) or jsonl(…), which byteLevelBpe makes the tokenizer from, found binidx",
  ],
];

for (const [what, spoil, ...expected] of SPOILT) {
  Deno.test(`validate: a new model, ${what}`, () => {
    const value = loose(pretraining);
    if (what === "heads") value.teacher.config.num_key_value_heads = 2;
    spoil(value);
    assertEquals(problems(value), expected);
  });
}
