import { assert, assertEquals } from "@std/assert";
import { keepAttention, radRwkv6, radRwkv7 } from "../../dsl/mixers.ts";
import { configJson, parseConfig } from "../../formats/hf_config/config.ts";
import { radRwkv6Ranks, radRwkv7Ranks } from "../../models/config.ts";
import type { Mixer } from "../../dsl/mixers.ts";
import type { ModelSpec } from "../../models/config.ts";
import { modelParameters } from "../../models/decoder.ts";
import { checkpointSpec, studentConfig, studentSpec } from "../../plan/spec.ts";

const JSON_CONFIG = {
  model_type: "llama",
  vocab_size: 50,
  hidden_size: 64,
  intermediate_size: 40,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
};
const CONFIG = parseConfig(JSON_CONFIG);
const TEACHER = checkpointSpec(CONFIG, new Map());

Deno.test("spec: a decoder's layers are attention", () => {
  assertEquals(TEACHER.mixers, Array(3).fill({ kind: "attention" }));
});

Deno.test("spec: windows are those of the layers that the config names, before and after", () => {
  const config = parseConfig({
    ...{ ...JSON_CONFIG, model_type: "qwen3", use_sliding_window: true, sliding_window: 16 },
    layer_types: ["sliding_attention", "full_attention", "sliding_attention"],
  });
  const teacher = checkpointSpec(config, new Map());
  const windowed = { kind: "attention" as const, window: 16 };
  assertEquals(teacher.mixers, [windowed, { kind: "attention" }, windowed]);
  const [rwkv, kept] = [radRwkv7(), keepAttention()];
  for (
    const { mixers, slidingLayers, slidingWindow } of [
      { mixers: [rwkv, kept, kept], slidingLayers: [2], slidingWindow: 16 },
      { mixers: [kept, rwkv, kept], slidingLayers: [0, 2], slidingWindow: 16 },
      { mixers: [rwkv, kept, rwkv], slidingLayers: [], slidingWindow: null },
    ]
  ) {
    const student = studentSpec(teacher, mixers);
    const written = studentConfig(config, student);
    assertEquals([written.slidingLayers, written.slidingWindow], [slidingLayers, slidingWindow]);
    const read = parseConfig(configJson(written));
    assertEquals(read, written);
    const { config: readConfig, mixers: readMixers } = checkpointSpec(read, new Map());
    assertEquals(readMixers, student.mixers);
    assertEquals(readConfig.attentionQkNorm, true);
  }
});

Deno.test("spec: ranks are automatic where the recipe does not say them", () => {
  const auto = radRwkv7Ranks(64);
  const ranks = { decay: 8, gate: 12 };
  const { mixers } = studentSpec(TEACHER, [radRwkv7(), radRwkv7({ ranks }), radRwkv7()]);
  assert(mixers[0].kind === "radRwkv7" && mixers[1].kind === "radRwkv7");
  assertEquals(mixers[0].ranks, auto);
  assertEquals(mixers[1].ranks, { ...auto, ...ranks });
  const rwkv6 = studentSpec(TEACHER, [radRwkv6(), radRwkv6({ ranks }), radRwkv6()]).mixers;
  assert(rwkv6[0].kind === "radRwkv6" && rwkv6[1].kind === "radRwkv6");
  assertEquals(rwkv6[0].ranks, radRwkv6Ranks(64));
  assertEquals(rwkv6[1].ranks, { ...radRwkv6Ranks(64), ...ranks });
});

/** The ranks of parts that are not there are not written. */
const plain = (spec: ModelSpec) =>
  spec.mixers.map((mixer) => {
    if (mixer.kind === "attention") return mixer;
    const gate = mixer.gate === 2 ? mixer.ranks.gate : 0;
    if (mixer.kind === "radRwkv7") return { ...mixer, ranks: { ...mixer.ranks, gate } };
    const tokenShift = mixer.tokenShift ? mixer.ranks.tokenShift : 0;
    return { ...mixer, ranks: { ...mixer.ranks, gate, tokenShift } };
  });

/** Fails unless a hybrid with this mixer is read from its config.json as it was written. */
function assertSurvives(mixer: Mixer): void {
  const student = studentSpec(TEACHER, [mixer, { kind: "attention" }, mixer]);
  const written = configJson(studentConfig(CONFIG, student));
  const config = parseConfig(JSON.parse(JSON.stringify(written)));
  const shapes = new Map(modelParameters(student).map((p) => [p.name, p]));
  const read = checkpointSpec(config, shapes);
  assertEquals(plain(read), plain(student));
  assertEquals(
    modelParameters(read).map(({ name, shape }) => ({ name, shape })),
    modelParameters(student).map(({ name, shape }) => ({ name, shape })),
  );
}

for (const rope of [true, false]) {
  for (const balanceState of [true, false]) {
    for (const groupNorm of [true, false]) {
      for (const gate of [0, 1, 2] as const) {
        const flags = { rope, balanceState, groupNorm, gate };
        Deno.test(`spec: ${JSON.stringify(flags)} survives config.json`, () => {
          assertSurvives(radRwkv7(flags));
          for (const tokenShift of [true, false]) {
            assertSurvives(radRwkv6({ ...flags, tokenShift }));
          }
        });
      }
    }
  }
}

Deno.test("spec: ranks that config.json leaves out are those of the tensors", () => {
  const student = studentSpec(TEACHER, [
    radRwkv7({ ranks: { decay: 3, iclr: 5, valueResidual: 7, gate: 9 } }),
    { kind: "attention" },
    { kind: "attention" },
  ]);
  const { lora_rank_decay: _d, lora_rank_iclr: _i, lora_rank_gate: _g, ...rest } = configJson(
    studentConfig(CONFIG, student),
  );
  const { lora_rank_value_residual_mix: _v, ...written } = rest;
  const shapes = new Map(modelParameters(student).map((p) => [p.name, p]));
  assertEquals(checkpointSpec(parseConfig(written), shapes).mixers, student.mixers);
});

Deno.test("spec: so are RAD-RWKV6's", () => {
  const mixer = radRwkv6({ gate: 2, ranks: { tokenShift: 3, decay: 5, gate: 7 } });
  const student = studentSpec(TEACHER, [mixer, mixer, mixer]);
  const entries = Object.entries(configJson(studentConfig(CONFIG, student)));
  const written = Object.fromEntries(entries.filter(([key]) => !key.startsWith("lora_rank")));
  const shapes = new Map(modelParameters(student).map((p) => [p.name, p]));
  assertEquals(checkpointSpec(parseConfig(written), shapes).mixers, student.mixers);
});

Deno.test("spec: a teacher that nothing is done to keeps its config", () => {
  const same = studentSpec(TEACHER, Array(3).fill({ kind: "attention" }));
  assertEquals(studentConfig(CONFIG, same), CONFIG);
});
