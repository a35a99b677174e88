import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  contextGrowth,
  depthGrowth,
  exponent,
  type Growth,
  positionGrowth,
  SIZES,
} from "../../bench/growth.ts";
import { growthDrawing } from "../../cli/bench/growth.ts";
import { withCpu } from "../support/devices.ts";

Deno.test("growth: the exponent of a power, and where it is only the larger sizes that show it", () => {
  const of = (y: (x: number) => number) =>
    exponent([1, 2, 4, 8, 16, 32].map((x) => ({ x, y: y(x) })));
  assertAlmostEquals(of((x) => 3 * x ** 1.5), 1.5, 1e-9);
  assertAlmostEquals(of(() => 7), 0, 1e-9);
  assertAlmostEquals(of((x) => x < 8 ? 1 : x * x), 2, 1e-9);
  assertAlmostEquals(exponent([{ x: 1, y: 2 }, { x: 2, y: 4 }]), 1, 1e-9);
});

Deno.test("growth: sizes double", () => {
  assertEquals([SIZES.contexts.length, SIZES.contexts.at(-1)], [7, 16384]);
  assertEquals([SIZES.positions.length, SIZES.positions.at(-1)], [10, 131072]);
});

Deno.test("growth: a point a size, operations as the theory has them, drawn", async () => {
  const sizes = {
    tokens: 128,
    contexts: [64, 128],
    positions: [256, 512],
    widths: [],
    depths: [1, 2],
    steps: 1,
  };
  await withCpu({ threads: 2 }, async (device) => {
    const grown: Growth[] = [];
    for (const measure of [contextGrowth, positionGrowth, depthGrowth]) {
      grown.push(await measure(device, sizes));
    }
    for (const { series } of grown) {
      for (const { points } of series) {
        assertEquals(points.length, 2);
        assert(points.every(({ seconds, flops }) => seconds > 0 && flops > 0));
      }
    }
    const flops = (growth: number, name: string) =>
      grown[growth].series.find((own) => own.name === name)!.points.map((point) => point.flops);
    // A token's operations do not depend on the context or the position, but with attention.
    for (const growth of [0, 1]) {
      for (const name of ["RAD-RWKV6", "RAD-RWKV7"]) {
        const [short, long] = flops(growth, name);
        assertAlmostEquals(short / long, 1, 0.01);
      }
      const [short, long] = flops(growth, "attention");
      assert(long > short);
    }
    const [one, two] = flops(2, "RAD-RWKV7");
    assert(two > 1.5 * one && two < 2.1 * one);
    const svg = growthDrawing(grown, "cpu");
    assert(!/NaN|undefined|Infinity/.test(svg));
    assertEquals([...svg.matchAll(/<path /g)].length, 2 * (4 + 3 + 2));
  });
});
