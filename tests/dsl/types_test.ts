/**
 * Recipes that must not compile. `deno check` reads this file: an error that TypeScript no longer
 * finds makes its `@ts-expect-error` one. Nothing here is run.
 */
import {
  align,
  byteLevelBpe,
  constant,
  cosine,
  extend,
  finetune,
  jsonl,
  keepAttention,
  layers,
  newModel,
  pipe,
  pretrain,
  radRwkv6,
  radRwkv7,
  type Recipe,
  recipe,
  samples,
  teacher,
  text,
  tokens,
  withContext,
  withFlags,
  withHybrid,
  withStages,
} from "../../mod.ts";

const surgery = [layers.all.to(radRwkv7())];
const data = text("x");
const config = {
  model_type: "qwen2",
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 2,
} as const;
const lr = constant(1e-3);

export function wrongRecipes(base: Recipe): void {
  const old = teacher("t");
  const fresh = newModel({ config, tokenizer: byteLevelBpe(2048) });
  const first = pretrain({ tokens: 4096, context: 16, batch: 1, lr });

  recipe({ teacher: old, surgery, stages: [align()], data, output: "o" });
  recipe({ teacher: fresh, stages: [first], data, output: "o" });

  align({ streamed: true });
  // @ts-expect-error only stage 1 goes layer by layer
  finetune({ streamed: true });

  // @ts-expect-error no teacher
  recipe({ surgery, stages: [align()], data, output: "o" });
  // @ts-expect-error no surgery
  recipe({ teacher: old, stages: [align()], data, output: "o" });
  // @ts-expect-error no data
  recipe({ teacher: old, surgery, stages: [align()], output: "o" });
  // @ts-expect-error no output
  recipe({ teacher: old, surgery, stages: [align()], data });
  // @ts-expect-error unknown part
  recipe({ teacher: old, surgery, stages: [align()], data, output: "o", hold: 0.1 });
  // @ts-expect-error a path is not a teacher
  recipe({ teacher: "t", surgery, stages: [align()], data, output: "o" });
  // @ts-expect-error a mixer is not a rule
  recipe({ teacher: old, surgery: [radRwkv7()], stages: [align()], data, output: "o" });
  // @ts-expect-error a selector is not a rule
  recipe({ teacher: old, surgery: [layers.all], stages: [align()], data, output: "o" });
  // @ts-expect-error a glob is not a source
  recipe({ teacher: old, surgery, stages: [align()], data: "x", output: "o" });
  // @ts-expect-error an existing teacher is not pretrained
  recipe({ teacher: old, surgery, stages: [first], data, output: "o" });
  // @ts-expect-error a new model has no teacher to align with
  recipe({ teacher: fresh, stages: [align()], data, output: "o" });
  // @ts-expect-error a new model has nothing to convert
  recipe({ teacher: fresh, surgery, stages: [first], data, output: "o" });

  // @ts-expect-error recipes are frozen
  base.output = "elsewhere";
  // @ts-expect-error so are their parts
  base.stages.push(align());
  // @ts-expect-error unknown part
  extend(base, { stage: [] });
  // @ts-expect-error a transformation is not a patch
  pipe(base, { output: "o" });
  // @ts-expect-error context is a number
  pipe(base, withContext("512"));
  // @ts-expect-error unknown flag
  pipe(base, withFlags({ ropes: true }));
  pipe(base, withFlags({ tokenShift: false }));
  // @ts-expect-error RAD-RWKV7 has no token shift
  radRwkv7({ tokenShift: false });
  // @ts-expect-error RAD-RWKV6 has no value residual
  radRwkv6({ ranks: { valueResidual: 8 } });
  // @ts-expect-error a count is not a selector
  pipe(base, withHybrid(4));
  // @ts-expect-error a function makes stages
  pipe(base, withStages(() => 3));
}

export function wrongParts(): void {
  tokens("1.5M");
  // @ts-expect-error unknown unit
  tokens("2Q");
  // @ts-expect-error no number
  tokens("many");
  // @ts-expect-error lower case
  tokens("2m");

  // @ts-expect-error unknown flag
  radRwkv7({ grupNorm: true });
  // @ts-expect-error no such gate
  radRwkv7({ gate: 3 });
  // @ts-expect-error a flag is true or false
  radRwkv7({ rope: "yes" });
  // @ts-expect-error unknown rank
  radRwkv7({ ranks: { key: 4 } });
  // @ts-expect-error unknown projection
  radRwkv7({ reinitialise: ["query"] });
  // @ts-expect-error keepAttention has no flags
  keepAttention({ rope: true });

  // @ts-expect-error unknown option
  align({ contxt: 512 });
  // @ts-expect-error a rate is a schedule
  align({ lr: 1e-3 });
  // @ts-expect-error tokens("2M") is the number
  align({ tokens: "2M" });
  // @ts-expect-error unknown word
  finetune({ trains: "mixer" });
  // @ts-expect-error both betas
  finetune({ betas: [0.9] });
  // @ts-expect-error pretraining has no published size
  pretrain({ context: 256, batch: 16, lr });
  // @ts-expect-error cosine needs where it ends
  cosine(1e-3);

  // @ts-expect-error a predicate answers true or false
  layers.where((index) => index % 2);
  // @ts-expect-error a rule needs a mixer
  layers.all.to();
  // @ts-expect-error a mixer is not a function
  layers.all.to(radRwkv7);
  // @ts-expect-error layers have numbers
  layers.only("last");

  // @ts-expect-error jsonl needs the field
  jsonl("x.jsonl");
  // @ts-expect-error samples come from a teacher
  samples("t", 100);
  // @ts-expect-error unknown option
  samples(teacher("t"), 100, { topK: 3 });
  // @ts-expect-error unknown family
  newModel({ config: { ...config, model_type: "gpt2" }, tokenizer: byteLevelBpe(512) });
  // @ts-expect-error no tokenizer
  newModel({ config });
  const { hidden_size: _, ...narrow } = config;
  // @ts-expect-error no width
  newModel({ config: narrow, tokenizer: byteLevelBpe(512) });
}
