import { assert, assertEquals, assertThrows } from "@std/assert";
import * as suture from "../../mod.ts";
import { conversion, pretraining } from "./example.ts";

const { align, every, extend, keepAttention, layers, pipe, radRwkv7, RecipeError, text } = suture;

Deno.test("extend: replaces parts and leaves the base alone", () => {
  const before = suture.toJson(conversion);
  const extended = extend(conversion, { stages: [align()], output: "other", seed: undefined });
  assertEquals(extended.stages, [align()]);
  assertEquals(extended.output, "other");
  assertEquals(extended.surgery, conversion.surgery);
  assertEquals(extended.seed, conversion.seed);
  assert(Object.isFrozen(extended) && Object.isFrozen(extended.stages));
  assertEquals(suture.toJson(conversion), before);
  assertEquals(extend(conversion, {}), conversion);
});

Deno.test("extend: what does not fit together is refused", () => {
  assertThrows(
    () => extend(conversion, { teacher: pretraining.teacher }),
    RecipeError,
    "stages[0]: expected pretrain",
  );
  assertThrows(
    () => extend(conversion, { stagse: [] } as never),
    RecipeError,
    "did you mean stages?",
  );
});

Deno.test("pipe: one transformation after the other", () => {
  const result = pipe(
    conversion,
    suture.withContext(4096),
    suture.withFlags({ rope: false }),
    suture.withHybrid(every(4)),
    suture.withData([text("a"), text("b")]),
    suture.withSeed(3),
    suture.withTeacher(suture.teacher("bigger")),
    suture.withOutput((output) => `${output}-long`),
  );
  assertEquals(result.stages.map(({ context }) => context), [4096, 4096, 4096]);
  assertEquals(result.surgery, [
    layers.all.to(radRwkv7({ rope: false })),
    layers.last(1).to(keepAttention()),
    layers.every(4).to(keepAttention()),
  ]);
  assertEquals(result.data, [text("a"), text("b")]);
  assertEquals(result.seed, 3);
  assertEquals(result.teacher, suture.teacher("bigger"));
  assertEquals(result.output, "out/radrwkv7-long");
  assertEquals(pipe(conversion), conversion);
  assertEquals(suture.withOutput("here")(conversion).output, "here");
});

Deno.test("withStages: other stages, or what a function makes of them", () => {
  const skip = suture.withStages((stages) => stages.slice(1));
  assertEquals(skip(conversion).stages.map(({ kind }) => kind), ["distill", "finetune"]);
  const small = suture.withStages((stages) =>
    stages.map((stage) => ({ ...stage, tokens: 65_536 }))
  );
  assertEquals(small(conversion).stages.map(({ tokens }) => tokens), [65_536, 65_536, 65_536]);
  assertEquals(suture.withStages([align()])(conversion).stages, [align()]);
  assertEquals(suture.withStages([])(conversion).stages, []);
});

Deno.test("transformations: problems are those of the result", () => {
  assertThrows(
    () => pipe(conversion, suture.withContext(100)),
    RecipeError,
    "stages[1].context: expected a multiple of 16, found 100",
  );
  assertThrows(
    () => pipe(conversion, suture.withFlags({ ropes: 1 } as never)),
    RecipeError,
    "ropes",
  );
  assertThrows(
    () => pipe(pretraining, suture.withHybrid(every(2))),
    RecipeError,
    "nothing to convert",
  );
});

Deno.test("an ablation is a map over transformations", () => {
  const ablations = {
    rope: { rope: false },
    gate: { gate: 0 },
    norm: { groupNorm: false },
  } as const;
  const recipes = Object.entries(ablations).map(([name, flags]) => {
    return pipe(conversion, suture.withFlags(flags), suture.withOutput(`out/${name}`));
  });
  assertEquals(new Set(recipes.map(suture.hash)).size, 3);
});

Deno.test("stages: several sources, one source, and sources of their own", () => {
  const jsonl = suture.jsonl(["a.jsonl", "b.jsonl"], "text");
  const binidx = suture.binidx("corpus/tokens");
  const written = suture.samples(suture.teacher("t"), suture.tokens("1M"), { topP: 0.9 });
  const result = extend(conversion, {
    data: [jsonl, binidx, written],
    stages: [align({ data: binidx }), align({ data: [jsonl] }), align()],
  });
  assertEquals(result.data, [jsonl, binidx, written]);
  assertEquals(written, {
    kind: "samples",
    teacher: suture.teacher("t"),
    tokens: 1_000_000,
    temperature: 1,
    topP: 0.9,
    seed: 0,
    prompt: "",
  });
  assertEquals(result.stages.map(({ data }) => data), [[binidx], [jsonl], undefined]);
});
