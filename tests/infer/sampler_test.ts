import { assert, assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import { greedy, greedyPlaces, sample } from "../../infer/sampler.ts";
import { randomStream } from "../../models/random.ts";
import type { Device } from "../../devices/device.ts";
import { withCpu, withCuda, withWebgpu } from "../support/devices.ts";

const LOGITS = Float32Array.from([0.5, 0.3, 0.15, 0.05], Math.log);

/** How often each id is drawn. */
function shares(temperature: number, topP: number, logits = LOGITS, draws = 20000): number[] {
  const random = randomStream(1, "test");
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < draws; i++) counts[sample(logits, { temperature, topP }, random)]++;
  return counts.map((count) => count / draws);
}

/** Four standard errors of 20,000 draws. */
function assertShares(found: readonly number[], expected: readonly number[]): void {
  found.forEach((share, i) => {
    const error = Math.sqrt(expected[i] * (1 - expected[i]) / 20000);
    assert(Math.abs(share - expected[i]) <= 4 * error, `${found} is not ${expected}`);
  });
}

Deno.test("sampler: greedy takes the largest logit, the first of equals", () => {
  assertEquals(greedy(Float32Array.of(1, 3, -2, 3)), 1);
  assertEquals(greedy(Float32Array.of(-Infinity, -5, -Infinity)), 1);
  const random = randomStream(1, "test");
  assertEquals(sample(LOGITS, { temperature: 0, topP: 0.1 }, random), 0);
});

Deno.test("sampler: a device finds the largest logits, the first of equals", async () => {
  const [texts, count] = [5, 1037];
  const random = randomStream(1, "test");
  const logits = Float32Array.from({ length: texts * count }, () => random.normal());
  logits.set([20, 20], 700);
  logits.set([-Infinity, 30], count);
  logits.fill(-Infinity, 2 * count, 3 * count);
  logits.fill(NaN, 3 * count, 4 * count);
  logits[4 * count + 5] = Infinity;
  const rows = [0, 1, 2, 4].map((t) => greedy(logits.subarray(t * count, (t + 1) * count)));
  assertEquals([rows[0], rows[1], rows[2], rows[3]], [700, 1, 0, 5]);
  const onDevice = async (device: Device) => {
    const memory = { logits: device.allocate(logits.byteLength) };
    const result = device.allocate(4 * texts);
    device.write(memory.logits, logits);
    const places = greedyPlaces(g.input("logits", [texts, count]));
    const executable = device.compile([places], { inputs: memory, results: [result] });
    executable.run();
    const found = new Float32Array(texts);
    await device.read(result, found);
    assertEquals([...found], [700, 1, 0, count, 5]);
    executable.free();
  };
  await withCpu({ threads: 2 }, onDevice);
  await withWebgpu(onDevice);
  await withCuda(onDevice);
});

Deno.test("sampler: at temperature 1 draws have the model's odds", () => {
  assertShares(shares(1, 1), [0.5, 0.3, 0.15, 0.05]);
});

Deno.test("sampler: temperature is what logits are divided by", () => {
  const odds = [0.5, 0.3, 0.15, 0.05].map((p) => p ** 2);
  const total = odds.reduce((a, b) => a + b);
  assertShares(shares(0.5, 1), odds.map((p) => p / total));
  assertShares(shares(1000, 1), [0.25, 0.25, 0.25, 0.25]);
  assertEquals(shares(0.001, 1), [1, 0, 0, 0]);
});

Deno.test("sampler: top-p keeps the fewest tokens that reach it", () => {
  assertShares(shares(1, 0.9), [0.5, 0.3, 0.15, 0].map((p) => p / 0.95));
  assertShares(shares(1, 0.75), [0.5, 0.3, 0, 0].map((p) => p / 0.8));
  assertEquals(shares(1, 0.45), [1, 0, 0, 0]);
  assertEquals(shares(1, 1e-9), [1, 0, 0, 0]);
  const unsorted = Float32Array.from([0.05, 0.5, 0.15, 0.3], Math.log);
  assertShares(shares(1, 0.75, unsorted), [0, 0.5, 0, 0.3].map((p) => p / 0.8));
});

Deno.test("sampler: a long tail does not move the nucleus", () => {
  const random = randomStream(3, "logits");
  const logits = Float32Array.from({ length: 500 }, () => 12 * random.uniform());
  const odds = logits.map(Math.exp);
  const total = odds.reduce((a, b) => a + b);
  for (const topP of [0.1, 0.5, 0.9, 0.999]) {
    const nucleus = new Set<number>();
    let sum = 0;
    for (const i of [...odds.keys()].sort((a, b) => odds[b] - odds[a])) {
      if (sum >= topP * total) break;
      nucleus.add(i);
      sum += odds[i];
    }
    const drawn = new Set<number>();
    const draws = randomStream(4, "test");
    for (let i = 0; i < 2000; i++) drawn.add(sample(logits, { temperature: 1, topP }, draws));
    assert(drawn.isSubsetOf(nucleus), `${topP}`);
    assert(drawn.size > nucleus.size / 2, `${topP}: ${drawn.size} of ${nucleus.size}`);
  }
});

Deno.test("sampler: logits of any size", () => {
  assertShares(shares(1, 1, LOGITS.map((z) => z + 1000)), [0.5, 0.3, 0.15, 0.05]);
  assertEquals(shares(1, 1, Float32Array.of(-Infinity, 0)), [0, 1]);
  assertEquals(shares(1, 0.5, Float32Array.of(-Infinity, 0)), [0, 1]);
});

Deno.test("sampler: a seed gives the same draws", () => {
  const draw = (seed: number) => {
    const random = randomStream(seed, "test");
    return Array.from({ length: 50 }, () => sample(LOGITS, { temperature: 1, topP: 0.9 }, random));
  };
  assertEquals(draw(5), draw(5));
  assert(draw(5).join() !== draw(6).join());
});
