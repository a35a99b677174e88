import { assertEquals } from "@std/assert";
import { differences } from "../../dsl/difference.ts";
import {
  align,
  binidx,
  constant,
  cosine,
  cosineBetween,
  distill,
  every,
  extend,
  finetune,
  keepAttention,
  layers,
  match,
  pipe,
  radRwkv7,
  type Recipe,
  samples,
  teacher,
  tokens,
  withFlags,
  withHybrid,
  withStages,
  worst,
} from "../../mod.ts";
import { conversion, pretraining } from "./example.ts";

const WITHIN = cosineBetween(1e-4, 1e-5, 0.833, 0.875);

/** Differences as the command prints them. */
const lines = (from: Recipe, to: Recipe, layerCount?: number) =>
  differences(from, to, layerCount).map(({ path, from, to }) => `${path}: ${from} -> ${to}`);

Deno.test("differences: none between recipes that are equal, however they were written", () => {
  assertEquals(differences(conversion, conversion), []);
  assertEquals(differences(pretraining, extend(pretraining, {}), 4), []);
  // Other rules, the same layers.
  const other = extend(conversion, { surgery: [layers.only(0, 1, 2).to(radRwkv7())] });
  assertEquals(differences(conversion, other, 4), []);
  assertEquals(differences(other, conversion).length > 0, true);
});

Deno.test("differences: values have their path, and stand in their author's words", () => {
  const to = pipe(
    extend(conversion, { output: "out/b", seed: 3, teacher: teacher("b"), heldOut: 0.005 }),
    withStages(([a, b, c]) => [
      { ...a, lr: constant(3e-4), data: [binidx("corpus/tokens")], streamed: true },
      { ...b, lr: cosine(6e-4, 1e-5), trains: match("*.mlp.*"), betas: [0.9, 0.99] as const },
      { ...c, tokens: tokens("2M"), mixerLr: WITHIN, rematerialise: true },
    ]),
  );
  assertEquals(lines(conversion, to), [
    'teacher.location: "assets/teacher" -> "b"',
    "stages[0].lr: cosine 1e-3..1e-5 -> constant 3e-4",
    'stages[0].data: nothing -> [binidx("corpus/tokens")]',
    "stages[0].streamed: nothing -> true",
    "stages[1].lr: constant 1e-4 -> cosine 6e-4..1e-5",
    "stages[1].betas: [0.9, 0.95] -> [0.9, 0.99]",
    'stages[1].trains: "everything" -> match(["*.mlp.*"])',
    "stages[2].tokens: 1000000 -> 2000000",
    "stages[2].rematerialise: false -> true",
    "stages[2].mixerLr: nothing -> cosineBetween 1e-4..1e-5 from 0.833 to 0.875",
    'output: "out/radrwkv7" -> "out/b"',
    "seed: 0 -> 3",
    "heldOut: 0.02 -> 5e-3",
  ]);
});

Deno.test("differences: layers that change alike are told together", () => {
  const hybrid = pipe(conversion, withHybrid(every(4)));
  assertEquals(lines(conversion, hybrid, 12).map((line) => line.replace(/\(\{.*\}\)/, "")), [
    "layers[0,4,8]: radRwkv7 -> attention",
  ]);
  const flags = pipe(conversion, withFlags({ rope: false, ranks: { decay: 64 } }));
  assertEquals(lines(conversion, flags, 12), [
    "layers[0-10].rope: true -> false",
    'layers[0-10].ranks.decay: "auto" -> 64',
  ]);
  // Rules that do not fit the layers are compared as they stand.
  const first = extend(conversion, {
    surgery: [layers.all.to(radRwkv7()), layers.first(20).to(keepAttention())],
  });
  assertEquals(lines(conversion, first, 12), lines(conversion, first));
  assertEquals(lines(conversion, first), [
    "surgery[1].layers: last(1) -> first(20)",
  ]);
});

Deno.test("differences: layers that are yet to be measured, by what is chosen among", () => {
  const measuring = (count: number, first = 12) =>
    extend(conversion, {
      surgery: [
        layers.all.to(radRwkv7()),
        layers.first(first).to(keepAttention({ where: worst(count) })),
      ],
    });
  const none = extend(conversion, { surgery: [layers.all.to(radRwkv7())] });
  assertEquals(lines(measuring(2), measuring(2), 12), []);
  assertEquals(lines(measuring(2), measuring(3), 12), ["surgery.worst.count: 2 -> 3"]);
  assertEquals(lines(measuring(2), measuring(2, 4), 12), [
    'surgery.worst.layers: "0-11" -> "0-3"',
  ]);
  assertEquals(lines(none, measuring(2), 12), [
    'surgery.worst: nothing -> { layers: "0-11", count: 2 }',
  ]);
  assertEquals(lines(measuring(2), none, 12), [
    'surgery.worst: { layers: "0-11", count: 2 } -> nothing',
  ]);
});

Deno.test("differences: stages that moved keep what they are, others come and go", () => {
  const [a, b, c] = conversion.stages;
  const stages = (...list: Recipe["stages"]) => extend(conversion, { stages: list });
  const short = (found: string[]) => found.map((line) => line.replaceAll(/\(\{.*?\}\)/g, ""));
  assertEquals(short(lines(conversion, stages(b, { ...c, clip: 0 }))), [
    "stages[0]: align -> nothing",
    "stages[2 -> 1].clip: 1 -> 0",
  ]);
  assertEquals(short(lines(conversion, stages(a, b, c, finetune()))), [
    "stages[3]: nothing -> finetune",
  ]);
  assertEquals(short(lines(stages(a, b), stages(a, align(), distill({ ...b })))), [
    "stages[1]: nothing -> align",
  ]);
  assertEquals(short(lines(stages(a, b), stages(b, a))).length, 2);
  const written = extend(conversion, { data: samples(teacher("t"), 100) });
  assertEquals(short(lines(conversion, written)), [
    'data[0]: text(["corpus/*.txt"]) -> samples',
  ]);
});
