import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { mixerParameters, modelParameters } from "../../models/decoder.ts";
import { initialValues } from "../../models/initial_values.ts";
import type { Initial } from "../../models/parameter.ts";
import { randomStream } from "../../models/random.ts";
import { assertClose } from "../support/compare.ts";
import { ATTENTION, radRwkv6, radRwkv7, smallConfig } from "../support/model.ts";

const values = (initial: Initial, shape: readonly number[], seed = 1, name = "x") =>
  initialValues({ name, shape, initial, mixer: false }, seed);

const mean = (data: Float32Array) => data.reduce((sum, x) => sum + x, 0) / data.length;

/** Rows of a matrix times the columns of its transpose. */
function gram(data: Float32Array, rows: number, columns: number): number[] {
  const at = (r: number, c: number) => data[r * columns + c];
  return Array.from({ length: rows * rows }, (_, i) => {
    const [a, b] = [Math.floor(i / rows), i % rows];
    return Array.from({ length: columns }, (_, c) => at(a, c) * at(b, c)).reduce((x, y) => x + y);
  });
}

function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  return data.map((_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
}

const identity = (n: number, scale: number) =>
  Array.from({ length: n * n }, (_, i) => i % (n + 1) === 0 ? scale : 0);

Deno.test("initial values: constants, ramps", () => {
  assertEquals(
    values({ kind: "constant", value: 0.85 }, [1, 1, 3]),
    new Float32Array(3).fill(0.85),
  );
  const ramp: Initial = { kind: "ramp", from: -6.5, span: 5, power: 2 };
  assertEquals(values(ramp, [1, 1, 5]), Float32Array.of(-6.5, -6.1875, -5.25, -3.6875, -1.5));
  assertEquals(values(ramp, [1]), Float32Array.of(-6.5));
});

Deno.test("initial values: few rows are orthonormal times the gain", () => {
  const data = values({ kind: "orthogonal", gain: 0.1 }, [8, 32]);
  assertClose("rows", gram(data, 8, 32), identity(8, 0.01), 1e-6);
});

Deno.test("initial values: many rows have orthogonal columns and a gain of √(rows/columns)", () => {
  const data = values({ kind: "orthogonal", gain: 0.1 }, [48, 12]);
  assertClose("columns", gram(transposed(data, 48, 12), 12, 48), identity(12, 0.01 * 4), 1e-6);
});

Deno.test("initial values: distributions", () => {
  const normal = values({ kind: "normal", deviation: 0.02 }, [200, 100]);
  // Standard errors of 20,000 draws: 1.4e-4 of the mean, 1e-4 of the deviation.
  assert(Math.abs(mean(normal)) < 6e-4);
  assert(Math.abs(Math.sqrt(mean(normal.map((x) => x * x))) - 0.02) < 4e-4);
  assert(normal.some((x) => Math.abs(x) > 0.06), "it has tails");
  const uniform = values({ kind: "uniform", bound: 0.01 }, [200, 100]);
  assert(uniform.every((x) => Math.abs(x) <= 0.01));
  assert(Math.abs(mean(uniform)) < 2e-4);
  assert(Math.max(...uniform) > 0.0099 && Math.min(...uniform) < -0.0099);
});

Deno.test("initial values: by seed and name, whatever else was drawn", () => {
  const normal: Initial = { kind: "normal", deviation: 1 };
  assertEquals(values(normal, [50], 3, "a"), values(normal, [50], 3, "a"));
  assertNotEquals(values(normal, [50], 3, "a"), values(normal, [50], 4, "a"));
  assertNotEquals(values(normal, [50], 3, "a"), values(normal, [50], 3, "b"));
});

Deno.test("initial values: RAD-RWKV7 starts as the paper says", () => {
  const config = smallConfig({ layers: 3 });
  const of = (layer: number, name: string) => {
    const all = mixerParameters(config, radRwkv7({ gate: 2 }), layer);
    const parameter = all.find((p) => p.name === `model.layers.${layer}.self_attn.${name}`)!;
    return initialValues(parameter, 1);
  };
  for (const layer of [0, 1, 2]) {
    // −7 + 5·(n/(D−1))^(0.85+√ρ) + 0.5, ρ = layer/(layers−1).
    const power = 0.85 + Math.sqrt(layer / 2);
    const ramp = Float32Array.from({ length: 32 }, (_, n) => -7 + 5 * (n / 31) ** power + 0.5);
    assertClose(`w0 of layer ${layer}`, of(layer, "w0"), ramp, 1e-7);
    const constants = { a0: 0, v0: 1, k_k: 0.85, k_a: 1, r_k: 0, "ln_x.weight": 1, "ln_x.bias": 0 };
    for (const [name, value] of Object.entries(constants)) {
      assertEquals(of(layer, name), new Float32Array(32).fill(value), name);
    }
    for (const letter of ["w", "a", "v", "g"]) {
      assert(of(layer, `${letter}1`).every((x) => x === 0), "nothing is added at first");
      const second = of(layer, `${letter}2`);
      const rank = second.length / 32;
      assertClose(`${letter}2`, gram(second, rank, 32), identity(rank, 0.01), 1e-6);
    }
  }
});

Deno.test("initial values: RAD-RWKV6 starts as the paper says", () => {
  const config = smallConfig({ layers: 3 });
  for (const layer of [0, 1, 2]) {
    const all = mixerParameters(config, radRwkv6({ gate: 2, groupNorm: true }), layer);
    const of = (name: string) =>
      initialValues(all.find((p) => p.name === `model.layers.${layer}.self_attn.${name}`)!, 1);
    // −6 + 5·(n/(D−1))^(0.7+1.3ρ), ρ = layer/(layers−1).
    const power = 0.7 + 1.3 * layer / 2;
    const ramp = Float32Array.from({ length: 32 }, (_, n) => -6 + 5 * (n / 31) ** power);
    assertClose(`time_decay of layer ${layer}`, of("time_decay"), ramp, 1e-7);
    assert(of("time_maa_x").every((x) => x === 1));
    for (const name of "rkvwg") assert(of(`time_maa_${name}`).every((x) => x === 0), name);
    for (const name of ["time_maa_w1", "time_decay_w1", "g1", "ln_x.bias"]) {
      assert(of(name).every((x) => x === 0), `${name}: nothing is added at first`);
    }
    for (const name of ["time_maa_w2", "time_decay_w2", "g2"]) {
      const top = of(name).reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
      assert(top > 0.0095 && top <= 0.01, `${name}: uniform ±0.01, found ${top}`);
    }
    assert(of("ln_x.weight").every((x) => x === 1));
  }
});

Deno.test("initial values: a full-rank gate starts at one half", () => {
  const parameters = mixerParameters(smallConfig(), radRwkv7({ gate: 1 }), 0);
  const gate = parameters.find(({ name }) => name.endsWith("gate.weight"))!;
  assert(initialValues(gate, 1).every((x) => x === 0));
});

Deno.test("initial values: a new decoder", () => {
  const parameters = modelParameters({ config: smallConfig({ layers: 1 }), mixers: [ATTENTION] });
  for (const parameter of parameters) {
    const data = initialValues(parameter, 1);
    if (/norm\.weight$/.test(parameter.name)) assert(data.every((x) => x === 1));
    else if (parameter.name.endsWith("bias")) assert(data.every((x) => x === 0));
    else assert(Math.abs(Math.sqrt(mean(data.map((x) => x * x))) - 0.02) < 0.003, parameter.name);
  }
});

Deno.test("random streams: known numbers, so that they are the same on every machine", () => {
  const stream = randomStream(1, "generate");
  const found = Array.from({ length: 4 }, () => Math.floor(stream.uniform() * 2 ** 32));
  // xoshiro128++ after splitmix32 and FNV-1a, computed once in Python.
  assertEquals(found, [1429089275, 2784757787, 2696557719, 4038733396]);
  const numbers = randomStream(0, "x");
  const drawn = Array.from({ length: 1000 }, numbers.uniform);
  assert(drawn.every((x) => x >= 0 && x < 1));
});
