import { assert, assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import {
  align,
  cosineBetween,
  extend,
  fromJson,
  hash,
  layers,
  radRwkv7,
  RecipeError,
  samples,
  teacher,
  toJson,
  withSeed,
  withStages,
} from "../../mod.ts";
import { conversion, loose, pretraining } from "./example.ts";

Deno.test("toJson: and back", () => {
  const where = layers.where((index) => index % 2 === 0).to(radRwkv7());
  const everything = extend(conversion, {
    surgery: [where, layers.except(-1).to(radRwkv7({ ranks: { gate: 8 }, reinitialise: true }))],
    stages: conversion.stages.slice(1).map((stage) => ({
      ...stage,
      mixerLr: cosineBetween(1e-4, 0, 0.5, 1),
    })),
    data: samples(teacher("t"), 4096, { prompt: "Zwölf “Boxkämpfer”\n", temperature: 0.7 }),
    seed: 2 ** 32 - 1,
  });
  for (const recipe of [conversion, pretraining, everything]) {
    const back = fromJson(toJson(recipe));
    assertEquals(back, recipe);
    assertEquals(toJson(back), toJson(recipe));
    assertEquals(hash(back), hash(recipe));
  }
});

/** The same value with the keys of every object the other way round. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).reverse().map(([k, v]) => [k, reversed(v)]));
}

Deno.test("hash: does not depend on the order of keys or on defaults that are written out", () => {
  const value = reversed(loose(conversion)) as ReturnType<typeof loose>;
  assertNotEquals(JSON.stringify(value), JSON.stringify(conversion));
  assertEquals(hash(value), hash(conversion));

  const short = loose(conversion);
  delete short.seed;
  delete short.heldOut;
  short.surgery[0].mixer = { kind: "radRwkv7" };
  for (const stage of short.stages) {
    for (const key of ["name", "warmup", "betas", "clip", "trains", "rematerialise"]) {
      delete stage[key];
    }
  }
  short.data = short.data[0];
  short.data.globs = short.data.globs[0];
  assertEquals(fromJson(JSON.stringify(short)), conversion);
  assertEquals(hash(short), hash(conversion));

  const model = loose(pretraining);
  for (const key of ["head_dim", "vocab_size", "rms_norm_eps", "attention_bias"]) {
    delete model.teacher.config[key];
  }
  assertEquals(hash(model), hash(pretraining));
});

Deno.test("hash: is the same as ever", () => {
  // A change here renames every run folder: it must be meant.
  assertMatch(hash(conversion), /^[0-9a-f]{64}$/);
  assertEquals(
    hash(conversion),
    "6f202015216bff0c47c4d75dd3b366f89801e1ccfabe25cea9e8c09a5ad33bb0",
  );
  assertEquals(
    hash(pretraining),
    "188eb0965ff484e47e36b9136bc7f59acfc1d8cb28e739a2fb6b27302070fe04",
  );
});

Deno.test("hash: differs where recipes differ", () => {
  const hashes = [
    conversion,
    pretraining,
    withSeed(1)(conversion),
    extend(conversion, { output: "elsewhere" }),
    withStages(([a, ...rest]) => [align({ ...a, streamed: true }), ...rest])(conversion),
    extend(conversion, { surgery: [...conversion.surgery].reverse() }),
    extend(conversion, { stages: conversion.stages.slice(1) }),
    withStages((stages) =>
      stages.map((stage, i) => i === 1 ? { ...stage, mixerLr: stage.lr } : stage)
    )(conversion),
  ].map(hash);
  assertEquals(new Set(hashes).size, hashes.length);
});

Deno.test("fromJson: reads like a stranger's", () => {
  const refused = (json: string) =>
    assertThrows(() => fromJson(json, "x.json"), RecipeError).message;
  assertMatch(refused("{"), /^1 problem in x\.json:\n\s+recipe: expected JSON, found .*JSON/);
  assertMatch(refused(""), /recipe: expected JSON/);
  assertMatch(refused("[".repeat(100_000)), /expected JSON nested at most 32 deep, found 100000/);
  assertMatch(refused(" ".repeat(2 ** 20 + 1)), /expected at most 1048576 characters of JSON/);
  assertMatch(refused('"' + "[".repeat(50) + '\\"["'), /expected a recipe, found "\[/);
  assertMatch(refused("\u001b[31m"), /expected JSON, found [\x20-\x7e]+$/);
  assertMatch(refused("null"), /recipe: expected a recipe, found null/);
});

Deno.test("fromJson: __proto__ and its like are unknown keys and nothing more", () => {
  const json = toJson(conversion);
  const polluted = json.replace(
    "{",
    '{"__proto__": {"polluted": 1}, "constructor": {"prototype": 1},',
  );
  const error = assertThrows(() => fromJson(polluted), RecipeError);
  assertEquals(error.problems.map(({ path }) => path), ["__proto__", "constructor"]);
  const inherited = json.replace(/"seed": 0,/, "").replace("{", '{"__proto__": {"seed": 7},');
  assertThrows(() => fromJson(inherited), RecipeError, "__proto__: expected one of the keys");
  const nested = json.replace('"kind": "radRwkv7",', '"__proto__": {"kind": "radRwkv7"},');
  assertThrows(
    () => fromJson(nested),
    RecipeError,
    'mixer.kind: expected "radRwkv6", "radRwkv7" or "attention"',
  );
  assertEquals(({} as { polluted?: number }).polluted, undefined);
});

Deno.test("fromJson: floods of mistakes are counted, not listed", () => {
  const keys = Array.from({ length: 5000 }, (_, i) => `"k${i}":${i}`).join();
  const error = assertThrows(() => fromJson(`{${keys}}`), RecipeError);
  assert(error.message.length < 20_000);
  assertMatch(error.message, /… and \d+ more$/);
  const surgery = JSON.stringify(Array(2000).fill(layers.all.to(radRwkv7())));
  const long = toJson(conversion).replace(
    /"surgery": \[[^]*?\],\n {2}"stages"/,
    `"surgery": ${surgery}, "stages"`,
  );
  assertThrows(
    () => fromJson(long),
    RecipeError,
    "surgery: expected at most 1024 items, found 2000",
  );
});
