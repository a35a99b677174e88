/** RAD-RWKV6 where its decay is strongest, and its token shift. */

import { assert, assertEquals } from "@std/assert";
import { compute } from "../../devices/compute.ts";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { evaluate } from "../../kernels/reference.ts";
import type { RadRwkv6Spec } from "../../models/config.ts";
import { radRwkv6Forward, radRwkv6Parameters } from "../../models/rad_rwkv6.ts";
import { assertClose } from "../support/compare.ts";
import { withCpu } from "../support/devices.ts";
import { radRwkv6, smallConfig } from "../support/model.ts";
import { random } from "../support/random.ts";

const CONFIG = smallConfig({ layers: 2 });

/** A mixer over random tokens: y, and the gradients of Σ y⊙cotangent for x and all parameters. */
function mixerCase(spec: RadRwkv6Spec, time: number, timeDecay?: (channel: number) => number) {
  const parameters = radRwkv6Parameters(CONFIG, spec, 1, "");
  const shapes = { x: [1, time, 24], cotangent: [1, time, 24] };
  const all = [...Object.entries(shapes), ...parameters.map(({ name, shape }) => [name, shape])];
  const inputs = new Map<string, Tensor>();
  const values: Record<string, Float32Array> = {};
  (all as [string, number[]][]).forEach(([name, shape], i) => {
    const source = random(i + 1);
    const scale = name === "x" || name === "cotangent" ? 1 : shape[shape.length - 1] ** -0.5;
    inputs.set(name, g.input(name, shape));
    values[name] = new Float32Array(shape.reduce((n, m) => n * m)).map((_, at) =>
      name === "time_decay" && timeDecay !== undefined
        ? timeDecay(at)
        : Math.fround(source.uniform(-scale, scale))
    );
  });
  const table = g.constant(1, [1, time, 4]);
  const x = inputs.get("x")!;
  const { y } = radRwkv6Forward(spec, {
    ...{ config: CONFIG, layer: 1, x, cosine: table, sine: table },
    weight: (name) => inputs.get(name)!,
  });
  const loss = g.sum(g.reshape(g.mul(y, inputs.get("cotangent")!), [time * 24]), [0]);
  const names = ["x", ...parameters.map(({ name }) => name)];
  const outputs = [y, ...gradients(loss, names.map((name) => inputs.get(name)!))];
  return { outputs, values, names: ["y", ...names.map((name) => `d${name}`)] };
}

/** Fails unless the CPU computes a case as f64 loops do. */
async function assertAgrees(
  { outputs, values, names }: ReturnType<typeof mixerCase>,
  tolerance: number,
): Promise<Float64Array[]> {
  const given = Object.fromEntries(Object.entries(values).map(([name, data]) => [name, { data }]));
  const expected = evaluate(outputs, given);
  await withCpu({ threads: 2 }, async (device) => {
    const found = await compute(device, outputs, values);
    found.forEach((data, i) => {
      assert(data.every(Number.isFinite), `${names[i]} is finite`);
      assertClose(names[i], data, expected[i], tolerance);
    });
  });
  return expected;
}

/** Decays of 4,096 tokens: all far beyond the clamp, all at it, and some of each with weak ones. */
const DECAYS: Readonly<Record<string, (channel: number) => number>> = {
  "far beyond the clamp": () => 8,
  "at the clamp": () => Math.log(5),
  "on both sides of it": (channel) => [-6, 1.5, 1.7, 20, 200][channel % 5],
};

for (const [name, decay] of Object.entries(DECAYS)) {
  Deno.test(`RAD-RWKV6: 4,096 tokens with decays ${name}, and their gradients`, async () => {
    // Roundings of 4,096 sums in gradients of parameters: √4096·6e-8, a few times.
    const expected = await assertAgrees(mixerCase(radRwkv6(), 4096, decay), 2e-5);
    const names = mixerCase(radRwkv6(), 1).names;
    const dDecay = expected[names.indexOf("dtime_decay")];
    // What is held at the clamp by far does not learn; what is not does.
    dDecay.forEach((slope, channel) => {
      if (decay(channel) > 2) assertEquals(Math.abs(slope), 0, `channel ${channel}`);
      if (decay(channel) < 0) assert(Math.abs(slope) > 1e-6, `channel ${channel}: ${slope}`);
    });
  });
}

Deno.test("RAD-RWKV6: the token shift sees zeros before the first token, and no token after", () => {
  const { outputs: [y], values } = mixerCase(radRwkv6(), 6);
  const run = (change: (x: Float32Array) => void): number[][] => {
    const x = values.x.slice();
    change(x);
    const given = Object.entries({ ...values, x }).map(([name, data]) => [name, { data }]);
    const [rows] = evaluate([y], Object.fromEntries(given));
    return Array.from({ length: 6 }, (_, t) => [...rows.subarray(t * 24, (t + 1) * 24)]);
  };
  const whole = run(() => {});
  const changed = run((x) => x.fill(0.5, 3 * 24, 4 * 24));
  assertEquals(changed.slice(0, 3), whole.slice(0, 3));
  for (const t of [3, 4, 5]) assert(changed[t].some((value, c) => value !== whole[t][c]));
});
