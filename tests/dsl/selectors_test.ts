import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  every,
  except,
  first,
  keepAttention,
  last,
  layers,
  only,
  pipe,
  radRwkv7,
  RecipeError,
  type Rule,
  type Selection,
  validate,
  where,
  withHybrid,
} from "../../mod.ts";
import { describe } from "../../dsl/problem.ts";
import { resolveSurgery } from "../../dsl/surgery.ts";
import { conversion } from "./example.ts";

/** The layers that a selector converts in a model of `count`, or the problems. */
function converted(selection: Selection, count: number): readonly number[] | readonly string[] {
  const resolution = resolveSurgery([selection.to(radRwkv7())], count);
  if (!resolution.ok) return resolution.problems.map(describe);
  return resolution.mixers.flatMap(({ kind }, layer) => (kind === "radRwkv7" ? [layer] : []));
}

Deno.test("selectors: choose their layers", () => {
  const cases: readonly (readonly [Selection, number, readonly number[]])[] = [
    [layers.all, 3, [0, 1, 2]],
    [layers.only(0, 2), 4, [0, 2]],
    [layers.only(-1, 0), 4, [0, 3]],
    [layers.only(3, -1), 4, [3]],
    [layers.except(1), 4, [0, 2, 3]],
    [layers.except(-1, -4), 4, [1, 2]],
    [layers.first(2), 4, [0, 1]],
    [layers.first(4), 4, [0, 1, 2, 3]],
    [layers.last(1), 4, [3]],
    [layers.every(2), 5, [0, 2, 4]],
    [layers.every(4, 3), 10, [3, 7]],
    [layers.every(2, 3), 8, [3, 5, 7]],
    [layers.every(1), 2, [0, 1]],
    [layers.where((index) => index % 3 === 1), 6, [1, 4]],
    [layers.where((index, count) => index >= count / 2), 5, [3, 4]],
    [layers.where((index) => index === 127), 128, [127]],
  ];
  for (const [selection, count, expected] of cases) {
    assertEquals(converted(selection, count), expected, JSON.stringify(selection).slice(0, 80));
  }
});

Deno.test("selectors: are also there under their own names", () => {
  assertEquals({ every, except, first, last, only, where }, {
    every: layers.every,
    except: layers.except,
    first: layers.first,
    last: layers.last,
    only: layers.only,
    where: layers.where,
  });
  const hybrid = pipe(conversion, withHybrid(every(4)));
  assertEquals(hybrid, pipe(conversion, withHybrid(layers.every(4))));
  assertEquals(hybrid.surgery.at(-1), layers.every(4).to(keepAttention()));
});

Deno.test("selectors: what a model does not have is a problem of the rule", () => {
  const cases: readonly (readonly [Selection, number, string])[] = [
    [layers.only(4), 4, "expected layers from 0 to 3, or -4 to -1 from the end, found 4"],
    [
      layers.except(0, -5, 9),
      4,
      "expected layers from 0 to 3, or -4 to -1 from the end, found -5, 9",
    ],
    [layers.first(5), 4, "expected at most the model's 4 layers, found 5"],
    [layers.last(5), 4, "expected at most the model's 4 layers, found 5"],
    [layers.every(3, 4), 4, "expected at least one of the model's 4 layers, found none selected"],
    [layers.except(0, 1), 2, "expected at least one of the model's 2 layers, found none selected"],
    [
      layers.where(() => false),
      4,
      "expected at least one of the model's 4 layers, found none selected",
    ],
    [
      layers.where(() => true),
      129,
      "expected a model of at most 128 layers, up to which where(…) is tabulated, found 129 layers",
    ],
  ];
  for (const [selection, count, expected] of cases) {
    assertEquals(converted(selection, count), [`surgery[0].layers: ${expected}`]);
  }
});

Deno.test("resolveSurgery: later rules win, other layers keep attention, problems are collected", () => {
  const rules: readonly Rule[] = [
    layers.except(0).to(radRwkv7()),
    layers.only(2).to(keepAttention()),
    layers.last(1).to(radRwkv7({ rope: false })),
  ];
  assertEquals(resolveSurgery(rules, 4), {
    ok: true,
    mixers: [keepAttention(), radRwkv7(), keepAttention(), radRwkv7({ rope: false })],
  });
  assertEquals(resolveSurgery([], 2), { ok: true, mixers: [keepAttention(), keepAttention()] });
  const misfits = [
    layers.first(9).to(radRwkv7()),
    layers.all.to(radRwkv7()),
    only(7).to(radRwkv7()),
  ];
  const resolution = resolveSurgery(misfits, 4);
  assert(!resolution.ok);
  assertEquals(resolution.problems.map(({ path }) => path), [
    "surgery[0].layers",
    "surgery[2].layers",
  ]);
});

Deno.test("resolveSurgery: converting nothing is a problem", () => {
  const resolution = resolveSurgery([
    layers.first(2).to(radRwkv7()),
    layers.first(3).to(keepAttention()),
  ], 3);
  assert(!resolution.ok);
  assertEquals(resolution.problems.map(describe), [
    "surgery: expected a layer that is converted, found none of 3: later rules keep attention in all of them",
  ]);
});

Deno.test("where: a predicate is asked about every layer of 1 to 128 and only then", () => {
  const asked: string[] = [];
  const selector = where((index, count) => {
    asked.push(`${index}/${count}`);
    return (index * 7 + count) % 3 === 0;
  });
  assertEquals(asked.length, 128 * 129 / 2);
  assertEquals(new Set(asked).size, asked.length);
  assertEquals(selector.table.length, 2064);
  for (const count of [1, 2, 3, 31, 32, 126, 128]) {
    const all = Array.from({ length: count }, (_, index) => index);
    const expected = all.filter((index) => (index * 7 + count) % 3 === 0);
    if (expected.length > 0) assertEquals(converted(selector, count), expected);
  }
  assertEquals(asked.length, 128 * 129 / 2);
});

Deno.test("where: equal answers are equal data", () => {
  assertEquals(where((index) => index < 3), where((index) => !(index >= 3)));
});

Deno.test("where: throws and answers other than true and false are validation's problems", () => {
  const explosive = where((index, count) => {
    if (index === 2) throw new Error("no");
    return count > 0;
  });
  const vague = where((index) => index as unknown as boolean);
  const later = where((_, count) => (count < 10 ? true : undefined) as boolean);
  const surgery = [explosive, vague, later].map((selection) => selection.to(radRwkv7()));
  assertEquals(validate({ ...conversion, surgery }).map(describe), [
    "surgery[0].layers: expected a predicate that answers true or false, found it throws for layer 2 of 3: no",
    "surgery[1].layers: expected a predicate that answers true or false, found 0 for layer 0 of 1",
    "surgery[2].layers: expected a predicate that answers true or false, found nothing for layer 0 of 10",
  ]);
});

Deno.test("selectors: bad numbers are validation's problems, not the selector's", () => {
  const surgery = [
    layers.first(0),
    layers.last(-1),
    layers.every(0),
    layers.every(2, -1),
    layers.only(),
    layers.only(0.5),
    layers.except(NaN),
  ].map((selection) => selection.to(radRwkv7()));
  assertEquals(validate({ ...conversion, surgery }).map(({ path }) => path), [
    "surgery[0].layers.count",
    "surgery[1].layers.count",
    "surgery[2].layers.step",
    "surgery[3].layers.offset",
    "surgery[4].layers.indices",
    "surgery[5].layers.indices[0]",
    "surgery[6].layers.indices[0]",
  ]);
  assertThrows(() => pipe(conversion, withHybrid(every(0))), RecipeError, "surgery[2].layers.step");
});
