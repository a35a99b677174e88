import { assertEquals } from "@std/assert";
import * as qrwkv6 from "../../recipes/qrwkv6.ts";
import * as qrwkv7 from "../../recipes/qrwkv7.ts";
import { conversionOf } from "../../plan/conversion.ts";
import { knownConfig } from "../../plan/known_configs.ts";
import { checkpointSpec } from "../../plan/spec.ts";
import { parseConfig } from "../../formats/hf_config/config.ts";
import { constant, cosine } from "../../dsl/schedules.ts";
import { stepsOf } from "../../dsl/stages.ts";

const SIZES = ["0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"] as const;

for (const [name, recipes] of Object.entries({ qrwkv6, qrwkv7 })) {
  Deno.test(`${name}: every size of Qwen2.5, every layer converted with the published flags`, () => {
    assertEquals(recipes.default, recipes["7B"]);
    for (const size of SIZES) {
      const recipe = recipes[size];
      const location = `Qwen/Qwen2.5-${size}-Instruct`;
      assertEquals(recipe.teacher, { kind: "checkpoint", location });
      assertEquals(recipe.output, `out/${name}-${size}`);
      const config = parseConfig(knownConfig(location));
      const { student } = conversionOf(recipe, { config, spec: checkpointSpec(config, new Map()) });
      const kind = name === "qrwkv6" ? "radRwkv6" : "radRwkv7";
      assertEquals(new Set(student.mixers.map((mixer) => mixer.kind)), new Set([kind]));
    }
  });

  Deno.test(`${name}: the paper's hyper-parameters`, () => {
    const { stages } = recipes["7B-2a"];
    const numbers = stages.map((
      { kind, context, batch, lr, trains },
    ) => [kind, context, batch, lr, trains]);
    const flat = constant(1e-5);
    assertEquals(numbers, [
      ["align", 512, 32, cosine(1e-3, 1e-5), "mixers"],
      ["distill", 512, 96, flat, "everything"],
      ["distill", 4096, 16, flat, "everything"],
      ["finetune", 4096, 96, flat, "everything"],
    ]);
    for (const stage of stages) {
      assertEquals([stage.warmup, stage.clip, stage.weightDecay, stage.epsilon], [50, 1, 0, 1e-8]);
      assertEquals(stage.betas, [0.9, 0.95]);
      assertEquals(stage.batch / stage.accumulate, 8, "one sequence a device of the paper's eight");
    }
    assertEquals(recipes["7B"].stages, [stages[0], stages[1], stages[3]]);
    assertEquals(recipes["7B"].stages.map(stepsOf), [6103, 10172, 254]);
    const tokens = recipes["7B"].stages.reduce((sum, stage) => sum + stage.tokens, 0);
    assertEquals(tokens, 700e6, "the most that the paper uses");
  });
}
