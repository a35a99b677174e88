import { assert, assertEquals, assertMatch } from "@std/assert";
import { extend } from "../../dsl/transformations.ts";
import { keepAttention, radRwkv7, worst } from "../../dsl/mixers.ts";
import { radRwkv6 } from "../support/model.ts";
import { recipe } from "../../dsl/recipe.ts";
import { constant, cosine } from "../../dsl/schedules.ts";
import { layers } from "../../dsl/selectors.ts";
import { text } from "../../dsl/sources.ts";
import { align, distill } from "../../dsl/stages.ts";
import { teacher } from "../../dsl/teachers.ts";
import { parseConfig } from "../../formats/hf_config/config.ts";
import { stateBytes } from "../../infer/state.ts";
import { modelParameters } from "../../models/decoder.ts";
import { conversionOf } from "../../plan/conversion.ts";
import { count, mixerText, planOf } from "../../plan/plan.ts";
import { checkpointSpec } from "../../plan/spec.ts";
import { trainedParameters } from "../../train/stage_graph.ts";

const CONFIG = parseConfig({
  model_type: "qwen2",
  vocab_size: 50,
  hidden_size: 32,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
});
const TEACHER = { config: CONFIG, spec: checkpointSpec(CONFIG, new Map()) };
const RECIPE = recipe({
  teacher: teacher("x"),
  surgery: [layers.last(1).to(radRwkv7())],
  stages: [
    align({ tokens: 1000, context: 16, batch: 2 }),
    distill({
      tokens: 640,
      context: 32,
      batch: 4,
      name: "logits",
      mixerLr: constant(1e-4),
    }),
  ],
  data: text("x"),
  output: "x",
});

Deno.test("plan: what becomes of every layer, and what every stage trains", () => {
  const conversion = conversionOf(RECIPE, TEACHER);
  const { student } = conversion;
  const trained = (i: number) => trainedParameters(RECIPE.stages[i], student);
  const plan = planOf(RECIPE, student, trained, { ...TEACHER, conversion });
  // q 32·32 + 32, k and v 32·16 + 16 each, o 32·32.
  const attention = 1056 + 2 * 528 + 1024;
  // w, a and v: rank 32 each; the gate's is 32 as well; r_k, k_k, k_a, and GroupNorm's two.
  const own = 3 * (32 + 2 * 32 * 32) + 2 * 32 * 32 + 3 * 32 + 2 * 32;
  assertEquals(plan.layers, [
    {
      layer: 0,
      from: "attention",
      to: "kept",
      parameters: attention,
      copied: attention,
      // Keys and values of 2 heads of 8, f32, 32,768 tokens.
      stateBytes: 2 * 2 * 8 * 4 * 32768,
    },
    {
      layer: 1,
      from: "attention",
      to: "RAD-RWKV7 (rope, groupnorm, gate 2; ranks 32/32/32/32)",
      parameters: attention + own,
      copied: attention,
      stateBytes: 4 * 8 * 8 * 4,
    },
  ]);
  assertEquals(plan.stages, [
    {
      name: "align",
      kind: "align",
      steps: 31,
      tokens: 31 * 32,
      context: 16,
      batch: 2,
      lr: cosine(1e-3, 1e-5),
      trained: attention + own,
    },
    {
      name: "logits",
      kind: "distill",
      steps: 5,
      tokens: 640,
      context: 32,
      batch: 4,
      lr: constant(1e-5),
      mixerLr: constant(1e-4),
      trained: count(modelParameters(student)),
    },
  ]);
  assertEquals(plan.parameters, count(modelParameters(student)));
  assertEquals(plan.weightBytes, 4 * plan.parameters);
  assertEquals(plan.stateBytesAt32K, stateBytes(student, 1, 32768));
  assertEquals(plan.teacher, {
    parameters: plan.parameters - own,
    stateBytesAt32K: stateBytes(TEACHER.spec, 1, 32768),
  });
});

Deno.test("plan: a new model's layers come from nowhere", () => {
  const plan = planOf(RECIPE, TEACHER.spec, () => []);
  assertEquals(plan.layers.map(({ from, to, copied }) => [from, to, copied]), [
    ["new", "attention", 0],
    ["new", "attention", 0],
  ]);
  assert(!("teacher" in plan));
});

Deno.test("plan: a mixer in a few words", () => {
  const ranks = { decay: 1, iclr: 2, valueResidual: 3, gate: 4 };
  const base = { kind: "radRwkv7", ranks, rope: false, groupNorm: false } as const;
  assertEquals(mixerText({ kind: "attention" }), "attention");
  assertEquals(
    mixerText({ ...base, balanceState: true, gate: 0 }),
    "RAD-RWKV7 (no rope, no groupnorm, balanced, gate 0; ranks 1/2/3)",
  );
  assertEquals(
    mixerText({ ...base, balanceState: false, gate: 2 }),
    "RAD-RWKV7 (no rope, no groupnorm, gate 2; ranks 1/2/3/4)",
  );
  const rwkv6 = radRwkv6();
  assertEquals(
    mixerText(rwkv6),
    "RAD-RWKV6 (token shift, no rope, no groupnorm, balanced, gate 1; ranks 5/6)",
  );
  assertEquals(
    mixerText({ ...rwkv6, tokenShift: false, gate: 2 }),
    "RAD-RWKV6 (no token shift, no rope, no groupnorm, balanced, gate 2; ranks 6/7)",
  );
});

Deno.test("plan: layers that are yet to be found by measurement say so", () => {
  const surgery = [
    layers.all.to(radRwkv7()),
    layers.only(0, 1).to(keepAttention({ where: worst(1) })),
  ];
  const conversion = conversionOf(extend(RECIPE, { surgery }), TEACHER);
  const { layers: planned } = planOf(RECIPE, conversion.student, () => [], {
    ...TEACHER,
    conversion,
  });
  for (const { to } of planned) assertMatch(to, /^RAD-RWKV7 \(.*\), or kept: 1 of these$/);
});

Deno.test("plan: a window bounds a layer's state, and is told", () => {
  const config = parseConfig({
    ...{ model_type: "mistral", vocab_size: 50, hidden_size: 32, intermediate_size: 40 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
    sliding_window: 4096,
  });
  const teacher = { config, spec: checkpointSpec(config, new Map()) };
  const conversion = conversionOf(RECIPE, teacher);
  const plan = planOf(RECIPE, conversion.student, () => [], { ...teacher, conversion });
  assertEquals(plan.layers.map(({ from, to }) => [from, to.split(" ")[0]]), [
    ["attention (window 4096)", "kept"],
    ["attention (window 4096)", "RAD-RWKV7"],
  ]);
  // Keys and values of 2 heads of 8, f32, 4,096 tokens.
  assertEquals(plan.layers[0].stateBytes, 2 * 2 * 8 * 4 * 4096);
  assertEquals(plan.teacher?.stateBytesAt32K, 2 * 2 * 2 * 8 * 4 * 4096);
});
