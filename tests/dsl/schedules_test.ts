import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { constant, cosine, cosineBetween, linear } from "../../mod.ts";
import { learningRate, scheduleText } from "../../dsl/schedules.ts";
import { sharedPath } from "../support/shared.ts";

Deno.test("learningRate: the published schedule's points to 1e-12", () => {
  const manifest = JSON.parse(Deno.readTextFileSync(sharedPath("golden", "manifest.json")));
  const { init, final, total_steps, warmup, points } = manifest.lr_schedule;
  const schedule = cosine(init, final);
  const steps = Object.entries(points as Record<string, number>);
  assertEquals(steps.length, 10);
  for (const [step, expected] of steps) {
    const found = learningRate(schedule, Number(step), total_steps, warmup);
    assertAlmostEquals(found, expected, 1e-12 * expected, `step ${step}`);
  }
});

Deno.test("learningRate: begins and ends where it should", () => {
  for (const warmup of [0, 7]) {
    const end = 100 + warmup;
    assertEquals(learningRate(constant(0.5), warmup, end, warmup), 0.5);
    assertEquals(learningRate(constant(0.5), end - 1, end, warmup), 0.5);
    assertEquals(learningRate(linear(1, 0.5), warmup, end, warmup), 1);
    assertEquals(learningRate(linear(1, 0.5), warmup + 50, end, warmup), 0.75);
    assertEquals(learningRate(linear(1, 0.5), end, end, warmup), 0.5);
    assertEquals(learningRate(cosine(1, 0.5), warmup, end, warmup), 1);
    const halfway = learningRate(cosine(1, 0.5), warmup + 50, end, warmup);
    assertAlmostEquals(halfway, 0.5 + 0.5 * Math.SQRT1_2, 1e-15);
    assertAlmostEquals(learningRate(cosine(1, 0.5), end, end, warmup), 0.5, 1e-15);
    assertAlmostEquals(learningRate(cosine(1, 0.5), end + 9, end, warmup), 0.5, 1e-15);
  }
});

Deno.test("learningRate: warm-up climbs to the first rate, also where nothing follows it", () => {
  const within = cosineBetween(0.2, 0.1, 0.1, 0.9);
  for (const schedule of [constant(0.2), linear(0.2, 0.1), cosine(0.2, 0.1), within]) {
    assertAlmostEquals(learningRate(schedule, 0, 100, 50), 0.2 * 0.01, 1e-15);
    assertAlmostEquals(learningRate(schedule, 25, 100, 50), 0.2 * 0.505, 1e-15);
    assertAlmostEquals(learningRate(schedule, 9, 10, 50), 0.2 * (0.01 + 0.99 * 9 / 50), 1e-15);
    assertAlmostEquals(learningRate(schedule, 50, 50, 50), 0.2, 1e-15);
  }
});

Deno.test("learningRate: stage 2a holds, falls within its part by a quarter cosine, holds", () => {
  const schedule = cosineBetween(1e-4, 1e-5, 0.833, 0.875);
  for (const warmup of [0, 50]) {
    const at = (p: number) => learningRate(schedule, warmup + 1000 * p, 1000 + warmup, warmup);
    for (const p of [0, 0.5, 0.832, 0.833]) assertEquals(at(p), 1e-4, `${p}`);
    for (const p of [0.875, 0.876, 1]) assertEquals(at(p), 1e-5, `${p}`);
    // lr_final + (lr_init − lr_final)·cos(π/2·(p − lr_wait)/(lr_endpoint − lr_wait)).
    for (const p of [0.84, 0.854, 0.874]) {
      const expected = 1e-5 + 9e-5 * Math.cos(Math.PI / 2 * (p - 0.833) / 0.042);
      assertAlmostEquals(at(p), expected, 1e-15, `${p}`);
    }
    assertAlmostEquals(at(0.854), 1e-5 + 9e-5 * Math.SQRT1_2, 1e-15);
  }
  // The whole stage is the cosine.
  for (const step of [0, 3, 10, 77, 99]) {
    const whole = learningRate(cosineBetween(1, 0.5, 0, 1), step, 100, 10);
    assertAlmostEquals(whole, learningRate(cosine(1, 0.5), step, 100, 10), 1e-15);
  }
});

Deno.test("scheduleText: in a few words", () => {
  assertEquals(
    [constant(1e-5), cosine(1e-3, 1e-5), linear(0.02, 0), cosineBetween(1e-4, 1e-5, 0.833, 0.875)]
      .map(scheduleText),
    [
      "constant 1e-5",
      "cosine 1e-3..1e-5",
      "linear 0.02..0",
      "cosineBetween 1e-4..1e-5 from 0.833 to 0.875",
    ],
  );
});

Deno.test("learningRate: refuses what is no step", () => {
  for (const step of [-1, 0.5, NaN]) {
    assertThrows(() => learningRate(constant(1), step, 10, 0), RangeError, `found ${step}`);
  }
});
