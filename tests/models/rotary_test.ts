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
  found.radians.forEach((value, i) => assertClose(`pair ${i}`, [value], [expected[i]], F32));
  assertEquals(found.amplitude, 1);
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
    assertClose(`pair ${i}`, [found.radians[i] / frequency], [1], 20 * F32);
  }
});

// inv_freq and attention_scaling of transformers 5.18's LlamaRotaryEmbedding.
const SCALINGS: readonly {
  readonly what: string;
  readonly config: Parameters<typeof rotaryFrequencies>[0];
  readonly radians: readonly number[];
  readonly amplitude: number;
}[] = [
  {
    what: "linear",
    config: { headDim: 8, ropeTheta: 1e4, ropeScaling: { type: "linear", factor: 8 } },
    radians: [0.125, 0.012500000186264515, 0.0012499999720603228, 0.0001250000059371814],
    amplitude: 1,
  },
  {
    what: "llama3, all three bands",
    config: {
      ...{ headDim: 16, ropeTheta: 100 },
      ropeScaling: {
        ...{ type: "llama3", factor: 4, lowFreqFactor: 1, highFreqFactor: 4 },
        originalMaxPositionEmbeddings: 64,
      },
    },
    radians: [
      ...[1, 0.5623413324356079, 0.2546479105949402, 0.08052673935890198],
      ...[0.02546478994190693, 0.014058532193303108, 0.007905694656074047, 0.004445698577910662],
    ],
    amplitude: 1,
  },
  {
    what: "YaRN, Qwen's",
    config: {
      ...{ headDim: 16, ropeTheta: 1e6 },
      ropeScaling: {
        ...{ type: "yarn", factor: 4, originalMaxPositionEmbeddings: 32768 },
        ...{ betaFast: 32, betaSlow: 1, truncate: true, attentionFactor: 0.1 * Math.log(4) + 1 },
      },
    },
    radians: [
      ...[1, 0.17782793939113617, 0.03162277862429619, 0.004217559937387705],
      ...[0.0005000000237487257, 4.4456985051510856e-5, 7.905693564680405e-6, 1.405853367941745e-6],
    ],
    amplitude: 1.138629436111989,
  },
  {
    what: "YaRN between pairs",
    config: {
      ...{ headDim: 16, ropeTheta: 1e4 },
      ropeScaling: {
        ...{ type: "yarn", factor: 40, originalMaxPositionEmbeddings: 4096 },
        ...{ betaFast: 32, betaSlow: 1, truncate: false },
        attentionFactor: (0.0707 * Math.log(40) + 1) / (0.1 * Math.log(40) + 1),
      },
    },
    radians: [
      ...[1, 0.3162277638912201, 0.10000000149011612, 0.02771085873246193],
      ...[0.005524062551558018, 0.0007226381567306817, 2.499999936844688e-5, 7.905694474175107e-6],
    ],
    amplitude: 0.9210423553163399,
  },
];

for (const { what, config, radians, amplitude } of SCALINGS) {
  Deno.test(`rotary: ${what}, as transformers has it`, () => {
    const found = rotaryFrequencies(config);
    assertEquals(found.radians.length, radians.length);
    // transformers computes them in f32.
    radians.forEach((value, i) => {
      assertClose(`pair ${i}`, [found.radians[i] / value], [1], 20 * F32);
    });
    assertClose("amplitude", [found.amplitude], [amplitude], 1e-12);
    const { cosine, sine } = rotaryTables(found, [0, 7]);
    assertEquals(cosine[0], Math.fround(found.amplitude));
    assertEquals(sine.at(-1), Math.fround(found.amplitude * Math.sin(7 * found.radians.at(-1)!)));
  });
}

Deno.test("rotary: tables are right at any position", () => {
  const frequencies = rotaryFrequencies({ headDim: 4, ropeTheta: 10000, ropeScaling: null });
  const { cosine, sine } = rotaryTables(frequencies, [0, 3, 32767]);
  const angles = [0, 0, 3, 0.03, 32767, 327.67];
  assertEquals(cosine, Float32Array.from(angles, Math.cos));
  assertEquals(sine, Float32Array.from(angles, Math.sin));
});
