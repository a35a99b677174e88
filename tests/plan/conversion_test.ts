import { assertEquals, assertThrows } from "@std/assert";
import { keepAttention, radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import { RecipeError } from "../../dsl/problem.ts";
import { type Recipe, recipe } from "../../dsl/recipe.ts";
import { layers, only } from "../../dsl/selectors.ts";
import { text } from "../../dsl/sources.ts";
import { teacher } from "../../dsl/teachers.ts";
import { type ModelConfig, parseConfig } from "../../formats/hf_config/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { conversionOf } from "../../plan/conversion.ts";
import { checkpointSpec } from "../../plan/spec.ts";

const CONFIG = parseConfig({
  model_type: "qwen2",
  vocab_size: 50,
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  torch_dtype: "bfloat16",
});
const TEACHER = { config: CONFIG, spec: checkpointSpec(CONFIG, new Map()) };

function withSurgery(surgery: Recipe["surgery"]): Recipe {
  return recipe({
    teacher: teacher("x"),
    surgery,
    stages: [],
    data: text("x"),
    output: "x",
  });
}

const convert = (...surgery: Recipe["surgery"]) => conversionOf(withSurgery(surgery), TEACHER);

Deno.test("conversion: every layer gets what the recipe says, the rest keeps attention", () => {
  const { student, mixers, config } = convert(
    layers.all.to(radRwkv7({ gate: 1 })),
    layers.last(1).to(keepAttention()),
  );
  const kinds = ["radRwkv7", "radRwkv7", "radRwkv7", "attention"];
  assertEquals(mixers.map(({ kind }) => kind), kinds);
  assertEquals(student.mixers.map(({ kind }) => kind), kinds);
  assertEquals(student.mixers[3], TEACHER.spec.mixers[3]);
  assertEquals([config.modelType, config.torchDtype], ["rwkv7qwen2", "float32"]);
});

Deno.test("conversion: only a mixer's own parameters are new", () => {
  const { student, transfers } = convert(layers.only(1).to(radRwkv7()));
  assertEquals(
    transfers.map(({ parameter }) => parameter.name),
    modelParameters(student).map(({ name }) => name),
  );
  const fresh = transfers.filter(({ from }) => from === undefined)
    .map(({ parameter }) => parameter.name.replace("model.layers.1.self_attn.", ""));
  assertEquals(
    fresh.sort(),
    [
      ...["a0", "a1", "a2", "g1", "g2", "k_a", "k_k", "ln_x.bias", "ln_x.weight", "r_k"],
      ...["v0", "v1", "v2", "w0", "w1", "w2"],
    ],
  );
  for (const { parameter, from } of transfers) {
    if (from !== undefined) assertEquals(from, parameter.name);
  }
});

Deno.test("conversion: projections are drawn anew where the recipe asks for it, biases included", () => {
  const { transfers } = convert(
    layers.only(0, 2).to(radRwkv7({ reinitialise: ["receptance", "output"] })),
  );
  const fresh = transfers.filter(({ from, parameter }) =>
    from === undefined && /_proj/.test(parameter.name)
  ).map(({ parameter }) => parameter.name);
  assertEquals(
    fresh,
    [0, 2].flatMap((layer) =>
      ["q_proj.weight", "q_proj.bias", "o_proj.weight"].map((name) =>
        `model.layers.${layer}.self_attn.${name}`
      )
    ),
  );
});

Deno.test("conversion: norms of queries and keys are part of their projections", () => {
  const config = parseConfig({
    ...{ model_type: "qwen3", vocab_size: 50, hidden_size: 24, intermediate_size: 40, head_dim: 8 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  });
  const { transfers, config: converted } = conversionOf(
    withSurgery([
      layers.all.to(radRwkv7()),
      layers.only(1).to(radRwkv7({ reinitialise: ["key"] })),
    ]),
    { config, spec: checkpointSpec(config, new Map()) },
  );
  const norms = transfers.filter(({ parameter }) => parameter.name.includes("_norm.")).map(
    ({ parameter, from }) => [parameter.name, from !== undefined],
  );
  assertEquals(norms, [
    ["model.layers.0.self_attn.q_norm.weight", true],
    ["model.layers.0.self_attn.k_norm.weight", true],
    ["model.layers.1.self_attn.q_norm.weight", true],
    ["model.layers.1.self_attn.k_norm.weight", false],
  ]);
  assertEquals([converted.modelType, converted.attentionQkNorm], ["rwkv7qwen2", true]);
  const rwkv6 = conversionOf(withSurgery([layers.all.to(radRwkv6())]), {
    config,
    spec: checkpointSpec(config, new Map()),
  });
  assertEquals([rwkv6.config.modelType, rwkv6.config.attentionQkNorm], ["rwkv6qwen2", true]);
  assertEquals(rwkv6.transfers.filter(({ from }) => from?.includes("_norm.weight")).length, 4);
});

Deno.test("conversion: a teacher that is a student already keeps its mixers", () => {
  const first = convert(layers.only(0, 1).to(radRwkv7()));
  const config: ModelConfig = first.config;
  const spec = checkpointSpec(config, new Map());
  const second = conversionOf(
    withSurgery([layers.only(3).to(radRwkv7())]),
    { config, spec },
  );
  assertEquals(second.student.mixers.map(({ kind }) => kind), [
    "radRwkv7",
    "radRwkv7",
    "attention",
    "radRwkv7",
  ]);
  assertEquals(second.config.modelType === "rwkv7qwen2" && second.config.attentionLayers, [2]);
  const copied = second.transfers.filter(({ from }) => from?.startsWith("model.layers.0."));
  assertEquals(copied.length, 7 + 16 + 5, "projections, the mixer's own, and what is around it");
});

Deno.test("conversion: rules that do not fit are told all at once, with their paths", () => {
  const { problems } = assertThrows(
    () =>
      convert(
        layers.only(4).to(radRwkv7()),
        layers.every(9, 8).to(radRwkv7()),
        layers.first(5).to(keepAttention()),
      ),
    RecipeError,
  );
  assertEquals(problems.map(({ path }) => path), [
    "surgery[0].layers",
    "surgery[1].layers",
    "surgery[2].layers",
  ]);
});

Deno.test("conversion: converted layers must be alike, for config.json says it once", () => {
  const { problems } = assertThrows(
    () =>
      convert(
        layers.all.to(radRwkv7()),
        only(2).to(radRwkv7({ groupNorm: false })),
      ),
    RecipeError,
  );
  assertEquals(problems, [{
    path: "surgery",
    expected: "the same flags in every converted layer, which is all that config.json can say",
    found: "other flags in layer 2 than in layer 0",
  }]);
  const mixed = assertThrows(
    () => convert(layers.all.to(radRwkv6()), only(1, 2).to(radRwkv7())),
    RecipeError,
  );
  assertEquals(mixed.problems, [{
    path: "surgery",
    expected: "one kind of mixer in all converted layers, which is all that config.json can say",
    found: "radRwkv7 in layer 1 and radRwkv6 in layer 0",
  }]);
  // What is drawn anew is no flag of the result.
  convert(layers.all.to(radRwkv7()), layers.only(2).to(radRwkv7({ reinitialise: ["key"] })));
});
