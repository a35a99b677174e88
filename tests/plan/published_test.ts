import { assert, assertAlmostEquals } from "@std/assert";
import { fleetOf } from "../../plan/fleets.ts";
import { fittedEfficiency, PUBLISHED, PUBLISHED_FLEET } from "../../plan/published.ts";

Deno.test("published: the fleet is known, and 72B costs under $2,000 there, as the paper says", () => {
  const fleet = fleetOf(PUBLISHED_FLEET)!;
  const { hours } = PUBLISHED.find(({ size }) => size === "72B")!;
  const all = hours.reduce((sum, h) => sum + h, 0);
  assert(all * fleet.devices * fleet.price < 2000);
});

Deno.test("published: the fit is the geometric mean of the runs' efficiencies", () => {
  const runs = [{ flops: 3600, hours: 1 }, { flops: 3600 * 8, hours: 2 }];
  assertAlmostEquals(fittedEfficiency(runs, 10), Math.sqrt(0.1 * 0.4));
});
