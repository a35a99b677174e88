import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { fleetOf } from "../../plan/fleets.ts";
import {
  fittedEfficiency,
  geometricMean,
  PUBLISHED,
  PUBLISHED_FLEET,
  publishedHours,
} from "../../plan/published.ts";
import { pipe, type Recipe, withHybrid } from "../../mod.ts";
import { layers } from "../../dsl/selectors.ts";
import { parseConfig } from "../../formats/hf_config/config.ts";
import { conversionOf } from "../../plan/conversion.ts";
import { knownConfig } from "../../plan/known_configs.ts";
import { checkpointSpec } from "../../plan/spec.ts";
import * as qrwkv6 from "../../recipes/qrwkv6.ts";
import * as qrwkv7 from "../../recipes/qrwkv7.ts";

Deno.test("published: the fleet is known, and 72B costs under $2,000 there, as the paper says", () => {
  const fleet = fleetOf(PUBLISHED_FLEET)!;
  const { hours } = PUBLISHED.find(({ size }) => size === "72B")!;
  const all = hours.reduce((sum, h) => sum + h, 0);
  assert(all * fleet.devices * fleet.price < 2000);
});

Deno.test("published: the fit is the geometric mean of the runs' efficiencies", () => {
  const runs = [{ flops: 3600, hours: 1 }, { flops: 3600 * 8, hours: 2 }];
  assertAlmostEquals(fittedEfficiency(runs, 10), Math.sqrt(0.1 * 0.4));
  assertAlmostEquals(geometricMean([1, 10, 100]), 10);
});

Deno.test("published: hours of the pairs that were published, on their fleet, stages and mixers", () => {
  const hours = (recipe: Recipe, fleet = PUBLISHED_FLEET) => {
    assert(recipe.teacher.kind === "checkpoint");
    const config = parseConfig(knownConfig(recipe.teacher.location));
    const teacher = { config, spec: checkpointSpec(config, new Map()) };
    return publishedHours(recipe, conversionOf(recipe, teacher).student, fleetOf(fleet)!);
  };
  assertEquals(hours(qrwkv6["7B"]), [0.75, 5.5, 1]);
  assertEquals(hours(qrwkv7["7B"]), [0.75, 5.5, 1]);
  assertEquals(hours(qrwkv6["32B"]), [2.5, 27, 3]);
  assertEquals(hours(qrwkv6["72B"]), [7.5, 54, 6]);
  for (const recipe of [qrwkv7["32B"], qrwkv7["72B"], qrwkv6["14B"], qrwkv6["7B-2a"]]) {
    assertEquals(hours(recipe), undefined, recipe.output);
  }
  assertEquals(hours(pipe(qrwkv6["7B"], withHybrid(layers.last(1)))), undefined);
  assertEquals(hours(qrwkv6["7B"], "8x H100"), undefined);
});
