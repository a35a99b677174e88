import { assert, assertEquals, assertThrows } from "@std/assert";
import * as suture from "../../mod.ts";
import { describe } from "../../dsl/problem.ts";
import { conversion, loose, pretraining } from "./example.ts";

const { align, distill, finetune, keepAttention, layers, match, radRwkv7, teacher, text } = suture;

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

/** Spoils a recipe in one place and says what validation must answer. */
type Spoilt = readonly [
  what: string,
  // deno-lint-ignore no-explicit-any
  spoil: (recipe: any) => void,
  ...expected: readonly string[],
];

const SPOILT: readonly Spoilt[] = [
  [
    "context",
    (r) => r.stages[1].context = 100,
    "stages[1].context: expected a multiple of 16, found 100",
  ],
  [
    "no context",
    (r) => r.stages[1].context = 0,
    "stages[1].context: expected a multiple of 16, found 0",
  ],
  [
    "context as text",
    (r) => r.stages[1].context = "512",
    'stages[1].context: expected a multiple of 16, found "512"',
  ],
  [
    "context beyond any model",
    (r) => r.stages[1].context = 2 ** 21,
    "stages[1].context: expected at most 1048576, found 2097152",
  ],
  [
    "accumulate",
    (r) => r.stages[0].accumulate = 3,
    "stages[0].accumulate: expected a divisor of the batch of 16, found 3",
  ],
  [
    "less than a step",
    (r) => r.stages[2].tokens = 4095,
    "stages[2].tokens: expected at least one step of 4 × 1024 = 4096 tokens, found 4095",
  ],
  [
    "fractional tokens",
    (r) => r.stages[2].tokens = 1e6 + 0.5,
    "stages[2].tokens: expected a whole number from 1, found 1000000.5",
  ],
  [
    "batch",
    (r) => r.stages[0].batch = -1,
    "stages[0].batch: expected a whole number from 1 to 65536, found -1",
  ],
  [
    "rate",
    (r) => r.stages[1].lr.lr = 0,
    "stages[1].lr.lr: expected a learning rate above 0 and at most 1, found 0",
  ],
  [
    "rate as a number",
    (r) => r.stages[1].lr = 1e-4,
    "stages[1].lr: expected a schedule: constant(lr), cosine(init, final), linear(init, final) or " +
    "cosineBetween(init, final, from, to), found 0.0001",
  ],
  [
    "schedule",
    (r) => r.stages[1].lr.kind = "cosin",
    'stages[1].lr.kind: expected "constant", "cosine", "linear" or "cosineBetween", found "cosin"; ' +
    'did you mean "cosine"?',
  ],
  [
    "shares of a stage",
    (r) => r.stages[1].lr = suture.cosineBetween(1e-4, 1e-5, 0.9, 1.5),
    "stages[1].lr.to: expected a share of the stage from 0 to 1, found 1.5",
  ],
  [
    "shares the wrong way round",
    (r) => r.stages[1].mixerLr = suture.cosineBetween(1e-4, 1e-5, 0.9, 0.9),
    "stages[1].mixerLr.to: expected a share of the stage above 0.9, found 0.9",
  ],
  [
    "mixers' rate in stage 1",
    (r) => r.stages[0].mixerLr = suture.constant(1e-4),
    "stages[0].mixerLr: expected nothing where mixers are all that is trained, found constant 1e-4; " +
    "lr is the rate of all",
  ],
  [
    "mixers' rate where they are trained alone",
    (r) => Object.assign(r.stages[1], { trains: "mixers", mixerLr: suture.cosine(1e-4, 1e-5) }),
    "stages[1].mixerLr: expected nothing where mixers are all that is trained, " +
    "found cosine 1e-4..1e-5; lr is the rate of all",
  ],
  [
    "betas",
    (r) => r.stages[0].betas = [0.9, 1],
    "stages[0].betas[1]: expected a number from 0 to below 1, found 1",
  ],
  [
    "one beta",
    (r) => r.stages[0].betas = [0.9],
    "stages[0].betas: expected [β₁, β₂], found a list of 1",
  ],
  [
    "trains",
    (r) => r.stages[0].trains = "mixer",
    'stages[0].trains: expected "mixers" or "everything", found "mixer"; did you mean "mixers"?',
  ],
  [
    "trains nothing",
    (r) => r.stages[0].trains = match(),
    "stages[0].trains.globs: expected at least one glob, found an empty list",
  ],
  [
    "stage's kind",
    (r) => r.stages[0].kind = "aling",
    'stages[0].kind: expected "align", "distill", "finetune" or "pretrain", found "aling"; did you mean "align"?',
  ],
  [
    "stage's option",
    (r) => r.stages[0].warmUp = 3,
    "stages[0].warmUp: expected one of the keys kind, name, tokens, context, batch, lr, mixerLr, warmup, " +
    "accumulate, clip, weightDecay, betas, epsilon, trains, data, rematerialise, streamed, found an unknown key; did you mean warmup?",
  ],
  [
    "streamed",
    (r) => r.stages[0].streamed = false,
    "stages[0].streamed: expected true, or no such key, found false",
  ],
  [
    "streamed beyond stage 1",
    (r) => r.stages[1].streamed = true,
    "stages[1].streamed: expected nothing, because only in stage 1 are layers independent of one another, found true",
  ],
  [
    "stage's name",
    (r) => r.stages[0].name = "../up",
    'stages[0].name: expected up to 64 letters, digits, spaces, -, _ or ., found "../up"',
  ],
  [
    "stage's data",
    (r) => r.stages[0].data = [],
    "stages[0].data: expected at least one data source, found an empty list",
  ],
  [
    "flag",
    (r) => r.surgery[0].mixer.grupNorm = true,
    "surgery[0].mixer.grupNorm: expected one of the keys kind, rope, balanceState, groupNorm, gate, ranks, " +
    "reinitialise, found an unknown key; did you mean groupNorm?",
  ],
  [
    "gate",
    (r) => r.surgery[0].mixer.gate = 3,
    "surgery[0].mixer.gate: expected 0, 1 or 2, found 3",
  ],
  [
    "rank",
    (r) => r.surgery[0].mixer.ranks = { decay: 0 },
    'surgery[0].mixer.ranks.decay: expected "auto" or a whole number from 1 to 65536, found 0',
  ],
  [
    "reinitialise",
    (r) => r.surgery[0].mixer.reinitialise = ["keys"],
    'surgery[0].mixer.reinitialise[0]: expected "receptance", "key", "value" or "output", ' +
    'found "keys"; did you mean "key"?',
  ],
  [
    "count of layers",
    (r) => r.surgery[1].layers.count = 1.5,
    "surgery[1].layers.count: expected a whole number of layers from 1, found 1.5",
  ],
  [
    "no layers",
    (r) => r.surgery[1].layers = { kind: "only", indices: [] },
    "surgery[1].layers.indices: expected at least one layer's index, found an empty list",
  ],
  [
    "layer's index",
    (r) => r.surgery[1].layers = { kind: "except", indices: [0, 0.5] },
    "surgery[1].layers.indices[1]: expected a layer's index: a whole number, from the end where negative, found 0.5",
  ],
  [
    "table",
    (r) => r.surgery[1].layers = { kind: "where", table: "ff" },
    "surgery[1].layers.table: expected a table of answers, found 2 digits in place of 2064",
  ],
  [
    "no data",
    (r) => delete r.data,
    "data: expected a data source: text(globs), jsonl(globs, field), " +
    "binidx(prefix) or samples(…), found nothing",
  ],
  [
    "empty glob",
    (r) => r.data = text(["a", ""]),
    "data.globs[1]: expected a glob over files, found empty text",
  ],
  [
    "temperature",
    (r) => r.data = { kind: "samples", teacher: r.teacher, tokens: 10, temperature: -1, topP: 0 },
    "data.temperature: expected a temperature from 0 to 100, found -1",
    "data.topP: expected a probability above 0 and at most 1, found 0",
  ],
  ["output", (r) => r.output = "", "output: expected the path of a directory, found empty text"],
  ["seed", (r) => r.seed = -1, "seed: expected a whole number from 0 to 4294967295, found -1"],
  [
    "heldOut",
    (r) => r.heldOut = 1,
    "heldOut: expected a fraction above 0 and at most 0.5, found 1",
  ],
  [
    "a revision of a path",
    (r) => r.teacher = { kind: "checkpoint", location: "./qwen", revision: "main" },
    "teacher.location: expected the name of a model, such as Qwen/Qwen2.5-0.5B-Instruct, beside a " +
    'revision, found "./qwen"',
  ],
  [
    "a revision that git would not take",
    (r) => r.teacher = { kind: "checkpoint", location: "a/b", revision: "../main" },
    'teacher.revision: expected a branch, a tag or a commit, found "../main"',
  ],
  [
    "teacher as text",
    (r) => r.teacher = "assets/teacher",
    'teacher: expected teacher("path or name") or newModel({ config, tokenizer }), found "assets/teacher"',
  ],
  [
    "pretraining a teacher",
    (r) => r.stages[1].kind = "pretrain",
    "stages[1]: expected align, distill or finetune, because the teacher is trained already, " +
    "found pretrain; pretrain wants teacher: newModel(…)",
  ],
  [
    "nothing converted",
    (r) => r.surgery = [layers.all.to(keepAttention())],
    "surgery: expected a rule that converts layers, such as layers.all.to(radRwkv7()), found none; " +
    "align trains converted layers",
  ],
  [
    "a key of its own",
    (r) => Object.defineProperty(r, "__proto__", { value: {}, enumerable: true }),
    "__proto__: expected one of the keys teacher, surgery, stages, data, output, seed, heldOut, " +
    "found an unknown key",
  ],
  [
    "unknown part",
    (r) => r.stage = [],
    "stage: expected one of the keys teacher, surgery, stages, data, output, seed, heldOut, " +
    "found an unknown key; did you mean stages?",
  ],
];

for (const [what, spoil, ...expected] of SPOILT) {
  Deno.test(`validate: ${what}`, () => {
    const value = loose(conversion);
    spoil(value);
    assertEquals(problems(value), expected);
  });
}

const SPOILT_NEW: readonly Spoilt[] = [
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

for (const [what, spoil, ...expected] of SPOILT_NEW) {
  Deno.test(`validate: a new model, ${what}`, () => {
    const value = loose(pretraining);
    if (what === "heads") value.teacher.config.num_key_value_heads = 2;
    spoil(value);
    assertEquals(problems(value), expected);
  });
}

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
