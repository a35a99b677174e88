import { assert, assertEquals, assertThrows } from "@std/assert";
import * as suture from "../../mod.ts";
import { describe } from "../../dsl/problem.ts";
import { conversion, loose, pretraining } from "./example.ts";

const { align, distill, finetune, layers, radRwkv7, teacher, text } = suture;

const problems = (value: unknown) => suture.validate(value).map(describe);

/** Every object and function that can be reached from a value. */
function* reachable(value: unknown): Generator<object> {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return;
  yield value;
  for (const key of Reflect.ownKeys(value)) yield* reachable(Reflect.get(value, key));
}

Deno.test("recipe: is frozen plain data all the way down", () => {
  for (const recipe of [conversion, pretraining]) {
    for (const part of reachable(recipe)) {
      assert(Object.isFrozen(part), JSON.stringify(part));
      const prototype = Object.getPrototypeOf(part);
      assert(prototype === Object.prototype || prototype === Array.prototype);
    }
    assertEquals(structuredClone(recipe), recipe);
    assertEquals(problems(recipe), []);
  }
});

Deno.test("recipe: what an author hands over is not frozen or shared", () => {
  const globs = ["a.txt"];
  const config = { ...loose(pretraining).teacher.config };
  const stages = [...pretraining.stages] as suture.Stage<"pretrain">[];
  const recipe = suture.recipe({
    teacher: suture.newModel({ config, tokenizer: "tokenizer.json" }),
    stages,
    data: text(globs),
    output: "out",
  });
  globs.push("b.txt");
  config.hidden_size = 3;
  stages.pop();
  assertEquals(recipe.data, [text("a.txt")]);
  assertEquals(recipe.stages.length, 1);
  assert(recipe.teacher.kind === "new");
  assertEquals(recipe.teacher.config.hidden_size, 128);
});

Deno.test("recipe: the defaults are the paper's", () => {
  const recipe = suture.recipe({
    teacher: teacher("t"),
    surgery: [layers.all.to(radRwkv7())],
    stages: [align(), distill(), finetune()],
    data: text("x"),
    output: "o",
  });
  const adamW = {
    warmup: 50,
    accumulate: 1,
    clip: 1,
    weightDecay: 0,
    betas: [0.9, 0.95],
    epsilon: 1e-8,
    rematerialise: false,
  };
  assertEquals(recipe as unknown, {
    teacher: { kind: "checkpoint", location: "t" },
    surgery: [{
      layers: { kind: "all" },
      mixer: {
        kind: "radRwkv7",
        rope: true,
        balanceState: false,
        groupNorm: true,
        gate: 2,
        ranks: { decay: "auto", iclr: "auto", valueResidual: "auto", gate: "auto" },
        reinitialise: [],
      },
    }],
    stages: [
      {
        kind: "align",
        name: "align",
        tokens: 100_000_000,
        context: 512,
        batch: 32,
        lr: { kind: "cosine", init: 1e-3, final: 1e-5 },
        trains: "mixers",
        ...adamW,
      },
      {
        kind: "distill",
        name: "distill",
        tokens: 250_000_000,
        context: 512,
        batch: 96,
        lr: { kind: "constant", lr: 1e-5 },
        trains: "everything",
        ...adamW,
      },
      {
        kind: "finetune",
        name: "finetune",
        tokens: 100_000_000,
        context: 4096,
        batch: 16,
        lr: { kind: "constant", lr: 1e-5 },
        trains: "everything",
        ...adamW,
      },
    ],
    data: [{ kind: "text", globs: ["x"] }],
    output: "o",
    seed: 0,
    heldOut: 0.02,
  });
});

Deno.test("recipe: a new model's config has Hugging Face's defaults and its tokenizer's vocabulary", () => {
  assertEquals(pretraining.teacher as unknown, {
    kind: "new",
    config: {
      model_type: "qwen2",
      vocab_size: 2048,
      hidden_size: 128,
      intermediate_size: 352,
      num_hidden_layers: 4,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 64,
      rms_norm_eps: 1e-6,
      rope_theta: 10_000,
      attention_bias: true,
      tie_word_embeddings: false,
      max_position_embeddings: 32_768,
      initializer_range: 0.02,
    },
    tokenizer: { kind: "byteLevelBpe", pieces: 2048, specialTokens: ["<|endoftext|>"] },
  });
});

Deno.test("validate: says everything at once, and recipe throws it as one error", () => {
  const value = loose(conversion);
  value.teacher.location = "";
  value.surgery[0].mixer.gate = 7;
  value.stages[0].context = 100;
  value.stages[0].accumulate = 5;
  value.stages[2].kind = "pretrain";
  value.output = 3;
  value.extra = 1;
  const paths = suture.validate(value).map(({ path }) => path);
  assertEquals(paths, [
    "extra",
    "teacher.location",
    "surgery[0].mixer.gate",
    "stages[0].context",
    "stages[0].accumulate",
    "output",
    "stages[2]",
  ]);
  const error = assertThrows(() => suture.recipe(value), suture.RecipeError);
  assertEquals(error.problems, suture.validate(value));
  assert(error.message.startsWith("7 problems in the recipe:\n  extra: "), error.message);
});

Deno.test("validate: answers for any value", () => {
  const cyclic: Record<string, unknown> = { stages: [] };
  cyclic.teacher = cyclic;
  (cyclic.stages as unknown[]).push(cyclic);
  const values = [undefined, null, 3, "recipe", [], () => 1, Symbol("x"), 3n, {}, cyclic];
  for (const value of values) assert(suture.validate(value).length > 0);
  assertEquals(problems(() => 1), ["recipe: expected a recipe, found a function"]);
  assertEquals(problems(undefined), ["recipe: expected a recipe, found nothing"]);
});

Deno.test("validate: functions, getters and classes do not survive", () => {
  class Sneaky {
    get output() {
      return "out";
    }
  }
  const value = loose(conversion);
  delete value.output;
  assertEquals(problems(Object.assign(new Sneaky(), value)), [
    "output: expected the path of a directory, found nothing",
  ]);
  value.output = () => "out";
  assertEquals(problems(value), ["output: expected the path of a directory, found a function"]);
  value.output = { toString: () => "out" };
  assertEquals(problems(value), ["output: expected the path of a directory, found an object"]);
});
