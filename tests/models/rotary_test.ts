import { assertEquals } from "@std/assert";
import { rotaryFrequencies, rotaryTables } from "../../models/rotary.ts";
import { assertClose } from "../support/compare.ts";

/** f32 rounding of the expected numbers. */
const F32 = 1e-7;

Deno.test("rotary: frequencies are powers of theta", () => {
  const found = rotaryFrequencies({ headDim: 16, ropeTheta: 1e6, ropeScaling: null });
  // inv_freq of transformers 5.18, rope_type "default".
  const expected = [
    ...[1, 0.17782793939113617, 0.03162277862429619, 0.005623413249850273],
    ...[0.0010000000474974513, 0.00017782794020604342, 3.162277425872162e-5, 5.62341347176698e-6],
  ];
  found.forEach((value, i) => assertClose(`pair ${i}`, [value], [expected[i]], F32));
});

Deno.test("rotary: Llama 3 stretches long waves, keeps short ones, and goes between", () => {
  const found = rotaryFrequencies({
    headDim: 64,
    ropeTheta: 500000,
    ropeScaling: {
      type: "llama3",
      factor: 32,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    },
  });
  // inv_freq of transformers 5.18 for Llama 3.2's config, at some pairs.
  const expected: readonly (readonly [pair: number, frequency: number])[] = [
    [0, 1],
    [1, 0.663601279258728],
    [8, 0.03760603070259094],
    [12, 0.00729266507551074],
    [13, 0.00483942124992609],
    [14, 0.0032114461064338684],
    [15, 0.0012905480107292533],
    [16, 0.000429556705057621],
    [17, 9.708286233944818e-5],
    [18, 1.9461638657958247e-5],
    [20, 8.570255886297673e-6],
    [24, 1.6619674170215148e-6],
    [31, 9.418306490260875e-8],
  ];
  // transformers computes the ones between in f32.
  for (const [i, frequency] of expected) {
    assertClose(`pair ${i}`, [found[i] / frequency], [1], 20 * F32);
  }
});

Deno.test("rotary: tables are right at any position", () => {
  const frequencies = rotaryFrequencies({ headDim: 4, ropeTheta: 10000, ropeScaling: null });
  const { cosine, sine } = rotaryTables(frequencies, [0, 3, 32767]);
  const angles = [0, 0, 3, 0.03, 32767, 327.67];
  assertEquals(cosine, Float32Array.from(angles, Math.cos));
  assertEquals(sine, Float32Array.from(angles, Math.sin));
});
