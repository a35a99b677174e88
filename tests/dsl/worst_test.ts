import { assertEquals, assertThrows } from "@std/assert";
import {
  align,
  distill,
  every,
  extend,
  finetune,
  fromJson,
  hash,
  keepAttention,
  layers,
  pipe,
  radRwkv7,
  type Recipe,
  RecipeError,
  type Stage,
  toJson,
  withHybrid,
  worst,
} from "../../mod.ts";
import { measuredAfter } from "../../dsl/recipe.ts";
import { resolveSurgery } from "../../dsl/surgery.ts";
import { conversion } from "./example.ts";

const ALL = layers.all.to(radRwkv7());
const measured = (stages: readonly Stage[], ...surgery: Recipe["surgery"]) =>
  extend(conversion, { surgery, stages });
const problems = (make: () => Recipe) =>
  assertThrows(make, RecipeError).problems.map(({ path, expected, found }) => [
    path,
    expected,
    found,
  ]);

Deno.test("worst: plain data, there and back, and another recipe than without", () => {
  const recipe = pipe(
    extend(conversion, { surgery: [ALL] }),
    withHybrid(every(2), { where: worst(1) }),
  );
  assertEquals(recipe.surgery[1], {
    layers: { kind: "every", step: 2, offset: 0 },
    mixer: { kind: "attention", where: { kind: "worst", count: 1 } },
  });
  assertEquals(fromJson(toJson(recipe)), recipe);
  const always = pipe(extend(conversion, { surgery: [ALL] }), withHybrid(every(2)));
  assertEquals(hash(recipe) === hash(always), false);
  assertEquals(always.surgery[1].mixer, { kind: "attention" });
});

Deno.test("worst: the layers are found after the align stages that come first", () => {
  const rule = layers.all.to(keepAttention({ where: worst(1) }));
  const after = (...stages: Stage[]) => measuredAfter(measured(stages, ALL, rule));
  assertEquals(after(align()), 1);
  assertEquals(after(align(), align({ context: 2048 }), distill(), align()), 2);
  assertEquals(measuredAfter(conversion), undefined);
});

Deno.test("worst: all problems at once, with their places", () => {
  const rule = layers.all.to(keepAttention({ where: worst(1) }));
  assertEquals(problems(() => measured([distill(), align()], ALL, rule, rule)), [
    ["surgery[2].mixer.where", "one rule with worst(n)", "another in surgery[1]"],
    [
      "surgery[1].mixer.where",
      "align as the first stage, at whose end the layers' errors are measured",
      "distill",
    ],
  ]);
  assertEquals(problems(() => measured([finetune()], ALL, rule))[0][2], "finetune");
  assertEquals(problems(() => measured([], ALL, rule))[0][2], "no stages");
  const zero = layers.all.to(keepAttention({ where: worst(0) }));
  assertEquals(problems(() => measured([align()], ALL, zero)), [
    ["surgery[1].mixer.where.count", "a whole number of layers from 1", "0"],
  ]);
});

Deno.test("worst: the choice is among converted layers that no later rule speaks of", () => {
  const rule = layers.except(0).to(keepAttention({ where: worst(2) }));
  const last = layers.last(1).to(keepAttention());
  const resolution = resolveSurgery([ALL, rule, last], 6);
  assertEquals(resolution.ok && resolution.choice, { layers: [1, 2, 3, 4], count: 2 });
  assertEquals(resolution.ok && resolution.mixers.map(({ kind }) => kind), [
    ...Array(5).fill("radRwkv7"),
    "attention",
  ]);
  const few = resolveSurgery([ALL, rule, last], 4);
  assertEquals(few.ok ? [] : few.problems, [{
    path: "surgery[1].mixer.where.count",
    expected: "fewer than the 2 converted layers that the rule chooses among",
    found: "2",
  }]);
  const none = resolveSurgery([layers.only(0).to(radRwkv7()), rule], 4);
  assertEquals(none.ok ? "" : none.problems[0].expected.slice(0, 22), "fewer than the 0 conve");
});
