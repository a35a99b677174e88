import { assert, assertEquals } from "@std/assert";
import * as qrwkv6 from "../../recipes/qrwkv6.ts";
import * as qrwkv7 from "../../recipes/qrwkv7.ts";
import type { ModelSpec } from "../../models/config.ts";
import { conversionOf } from "../../plan/conversion.ts";
import { knownConfig } from "../../plan/known_configs.ts";
import { checkpointSpec } from "../../plan/spec.ts";
import { parseConfig } from "../../formats/hf_config/config.ts";
import { radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import type { Recipe } from "../../dsl/recipe.ts";
import { constant, cosine, cosineBetween } from "../../dsl/schedules.ts";
import { layers } from "../../dsl/selectors.ts";
import { type Stage, stepsOf } from "../../dsl/stages.ts";
import { stage3a } from "../../recipes/radlads.ts";
import { trainedParameters } from "../../train/stage_graph.ts";

const SIZES = ["0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"] as const;

/** The student of a recipe whose teacher plans know by name. */
function studentOf(recipe: Recipe): ModelSpec {
  const { teacher } = recipe;
  assert(teacher.kind === "checkpoint");
  const config = parseConfig(knownConfig(teacher.location));
  return conversionOf(recipe, { config, spec: checkpointSpec(config, new Map()) }).student;
}

for (const [name, recipes] of Object.entries({ qrwkv6, qrwkv7 })) {
  Deno.test(`${name}: every size of Qwen2.5, every layer converted`, () => {
    assertEquals(recipes.default, recipes["7B"]);
    for (const size of SIZES) {
      const recipe = recipes[size];
      const location = `Qwen/Qwen2.5-${size}-Instruct`;
      assertEquals(recipe.teacher, { kind: "checkpoint", location });
      assertEquals(recipe.output, `out/${name}-${size}`);
      const student = studentOf(recipe);
      const kind = name === "qrwkv6" ? "radRwkv6" : "radRwkv7";
      assertEquals(new Set(student.mixers.map((mixer) => mixer.kind)), new Set([kind]));
    }
  });

  Deno.test(`${name}: the paper's hyper-parameters`, () => {
    const numbers = (stages: readonly Stage[]): unknown[][] =>
      stages.map(({ kind, tokens, context, batch, lr, mixerLr, trains }) => [
        kind,
        tokens / 1e6,
        context,
        batch,
        lr,
        mixerLr,
        trains,
      ]);
    const flat = constant(1e-5);
    const align = ["align", 100, 512, 32, cosine(1e-3, 1e-5), undefined, "mixers"];
    const distill = ["distill", 500, 512, 96, flat, undefined, "everything"];
    const finetune = ["finetune", 100, 16384, 96, flat, undefined, "everything"];
    for (const size of SIZES) {
      const last = finetune.with(2, size === "72B" ? 4096 : 16384);
      assertEquals(numbers(recipes[size].stages), [align, distill, last], size);
    }
    const apart = cosineBetween(1e-4, 1e-5, 0.833, 0.875);
    const long = ["distill", 600, 4096, 32, flat, apart, "everything"];
    assertEquals(numbers(recipes["7B-2a"].stages), [align, long]);
    assertEquals(recipes["7B"].stages.map(stepsOf), [6103, 10172, 63]);
    assertEquals(recipes["7B-2a"].stages.map(stepsOf), [6103, 4577]);
    for (const stage of [...recipes["7B"].stages, ...recipes["7B-2a"].stages]) {
      assertEquals([stage.warmup, stage.clip, stage.weightDecay, stage.epsilon], [50, 1, 0, 1e-8]);
      assertEquals(stage.betas, [0.9, 0.95]);
      assertEquals(stage.batch / stage.accumulate, 8, "one sequence a device of the paper's eight");
    }
  });

  Deno.test(`${name}: stage 3a trains decay and token shift, nothing else`, () => {
    const trained = trainedParameters(stage3a, studentOf(recipes["7B"]));
    const names = new Set(trained.map((p) => p.name.replace(/^model\.layers\.\d+\./, "")));
    const decay = ["time_decay", "time_decay_w1", "time_decay_w2"];
    const shift = ["x", "r", "k", "v", "w", "g", "w1", "w2"].map((part) => `time_maa_${part}`);
    const expected = name === "qrwkv6" ? [...shift, ...decay] : ["w0", "w1", "w2"];
    assertEquals(names, new Set(expected.map((part) => `self_attn.${part}`)));
    assertEquals(stage3a.lr, constant(1e-4));
  });
}

Deno.test("qrwkv6: as published at every size, and of Base at 7B", () => {
  for (const size of SIZES) assertEquals(qrwkv6[size].surgery, [layers.all.to(radRwkv6())]);
  const base = qrwkv6["7B-Base"];
  assertEquals(base.teacher, { kind: "checkpoint", location: "Qwen/Qwen2.5-7B" });
  assertEquals({ ...base, teacher: 0, output: 0 }, { ...qrwkv6["7B"], teacher: 0, output: 0 });
});

Deno.test("qrwkv7: as published up to 7B, as in appendix A.2 from 14B up", () => {
  for (const size of SIZES) {
    const large = ["14B", "32B", "72B"].includes(size);
    const flags = large ? { balanceState: true, groupNorm: false } : {};
    assertEquals(qrwkv7[size].surgery, [layers.all.to(radRwkv7(flags))], size);
  }
});
