import { assert, assertEquals, assertThrows } from "@std/assert";
import { tensorBytes, type WeightDType } from "../../../graph/tensor.ts";
import { weights } from "../../../kernels/reference/weights.ts";
import { decodeWeights, encodeWeights } from "../../../kernels/weights/weights.ts";
import { random } from "../../support/random.ts";

const TYPES: readonly WeightDType[] = ["bf16", "q8_0", "q4_0"];

const normal = (count: number, seed: number): Float32Array => {
  const source = random(seed);
  return new Float32Array(count).map(() => source.uniform(-1, 1) ** 3);
};

Deno.test("weights: bytes follow from the shape", () => {
  assertEquals(TYPES.map((dtype) => tensorBytes([3, 64], dtype)), [384, 204, 108]);
});

Deno.test("weights: decoding gives what the definition says, for rows that no tile divides", () => {
  for (const dtype of TYPES) {
    for (const shape of [[1, 32], [4, 64], [7, 96], [10, 32]]) {
      const values = normal(shape[0] * shape[1], shape[0]);
      const bytes = encodeWeights(dtype, values, shape);
      assertEquals(bytes.length, tensorBytes(shape, dtype));
      const decoded = decodeWeights(dtype, bytes, shape);
      assertEquals(Float64Array.from(decoded), weights(dtype, bytes, shape));
      // What was stored once is stored the same again.
      if (dtype !== "q4_0") assertEquals(encodeWeights(dtype, decoded, shape), bytes);
    }
  }
});

Deno.test("bf16: the nearest, ties to even", () => {
  const ulp = 2 ** -7;
  const values = [1 + ulp / 2, 1 + 3 * ulp / 2, 1 + ulp / 2 + 2 ** -20, -3.14159, 0, -0, 3.4e38];
  const shape = [1, values.length];
  const bytes = encodeWeights("bf16", Float32Array.from(values), shape);
  const [even, odd, above, pi, zero, negative, large] = decodeWeights("bf16", bytes, shape);
  assertEquals([even, odd, above, pi], [1, 1 + 2 * ulp, 1 + ulp, -3.140625]);
  assert(Object.is(zero, 0) && Object.is(negative, -0));
  assertEquals(large, Infinity);
  const none = encodeWeights("bf16", Float32Array.of(NaN, -Infinity), [1, 2]);
  assertEquals([...decodeWeights("bf16", none, [1, 2])], [NaN, -Infinity]);
});

Deno.test("q8_0: the largest of a block is 127 steps, halves go away from zero", () => {
  const values = new Float32Array(64);
  values.set([127, -127, 2.5, -2.5, 0.49, 63.2]);
  values.set([0.25, -0.125], 32);
  const bytes = encodeWeights("q8_0", values, [1, 64]);
  assertEquals([...new Int8Array(bytes.buffer, 0, 6)], [127, -127, 3, -3, 0, 63]);
  assertEquals([...new Int8Array(bytes.buffer, 32, 2)], [127, -64]);
  const scales = new Float16Array(bytes.buffer, 64);
  assertEquals([...scales], [1, Math.f16round(0.25 / 127)]);
  assertEquals(encodeWeights("q8_0", new Float32Array(32), [1, 32]), new Uint8Array(34));
});

Deno.test("q4_0: the largest is −8 steps, its opposite 7, low halves come first", () => {
  const values = new Float32Array(32);
  values.set([-8, 8, 7.4, 0.5, -0.5, -7.6]);
  values.set([3, -3, 0], 16);
  const bytes = encodeWeights("q4_0", values, [1, 32]);
  const low = [...bytes.subarray(0, 16)].map((byte) => (byte & 15) - 8);
  const high = [...bytes.subarray(0, 16)].map((byte) => (byte >> 4) - 8);
  assertEquals(low.slice(0, 7), [-8, 7, 7, 1, 0, -8, 0]);
  assertEquals(high.slice(0, 4), [3, -3, 0, 0]);
  assertEquals([...new Float16Array(bytes.buffer, 16)], [1]);
  // The largest may be positive: then the scale is negative.
  const positive = encodeWeights("q4_0", values.map((x) => -x), [1, 32]);
  assertEquals([...new Float16Array(positive.buffer, 16)], [-1]);
});

Deno.test("weights: half a step is the largest error of a block", () => {
  const values = normal(1024, 5);
  for (const [dtype, steps] of [["q8_0", 127], ["q4_0", 8]] as const) {
    const decoded = decodeWeights(dtype, encodeWeights(dtype, values, [8, 128]), [8, 128]);
    for (let at = 0; at < values.length; at += 32) {
      const block = values.subarray(at, at + 32);
      const largest = block.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
      // Of q4_0's two ends one is a step short; f16 rounds the scale.
      const bound = largest / steps * (dtype === "q4_0" ? 1.01 : 0.51) + largest * 2 ** -10;
      block.forEach((x, i) => assert(Math.abs(x - decoded[at + i]) <= bound));
    }
  }
});

Deno.test("weights: what no scale holds is refused", () => {
  for (const dtype of ["q8_0", "q4_0"] as const) {
    for (const value of [NaN, Infinity, 1e8]) {
      const values = new Float32Array(64);
      values[40] = value;
      assertThrows(
        () => encodeWeights(dtype, values, [2, 32]),
        RangeError,
        `${dtype} holds no ${value}, in a block at 32`,
      );
    }
  }
});
