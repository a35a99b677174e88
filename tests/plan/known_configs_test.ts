import { assertEquals } from "@std/assert";
import { parseConfig } from "../../formats/hf_config/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { knownConfig } from "../../plan/known_configs.ts";
import { count } from "../../plan/plan.ts";
import { checkpointSpec } from "../../plan/spec.ts";

/** Parameters of the published checkpoints. */
const PARAMETERS = {
  "0.5B": 494_032_768,
  "1.5B": 1_543_714_304,
  "3B": 3_085_938_688,
  "7B": 7_615_616_512,
  "14B": 14_770_033_664,
  "32B": 32_763_876_352,
  "72B": 72_706_203_648,
};

for (const [size, parameters] of Object.entries(PARAMETERS)) {
  Deno.test(`known configs: Qwen2.5-${size} has the parameters of the published checkpoint`, () => {
    const config = parseConfig(knownConfig(`Qwen/Qwen2.5-${size}-Instruct`));
    assertEquals(count(modelParameters(checkpointSpec(config, new Map()))), parameters);
    assertEquals(knownConfig(`Qwen/Qwen2.5-${size}`), knownConfig(`Qwen/Qwen2.5-${size}-Instruct`));
  });
}

Deno.test("known configs: other names are not known", () => {
  for (const name of ["Qwen/Qwen2.5-8B", "Qwen2.5-7B", "Qwen/Qwen2.5-constructor", "x"]) {
    assertEquals(knownConfig(name), undefined);
  }
});
