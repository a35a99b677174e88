import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeF32, decodeI32, encode } from "../../formats/elements.ts";
import { type Dtype, DTYPE_BYTES, DTYPES, tensorBytes } from "../../formats/dtype.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { fixturePath } from "./support.ts";

/** f32 numbers, edge cases and random bits, with what PyTorch makes of them in each type. */
const ROUNDING = fixturePath("safetensors", "rounding.safetensors");

function decoded(dtype: Dtype, bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length / DTYPE_BYTES[dtype]);
  decodeF32(dtype, bytes, out);
  return out;
}

for (const dtype of ["F16", "BF16", "F64"] as const) {
  Deno.test(`rounds f32 to ${dtype} as PyTorch does`, () => {
    using store = openSafetensors(ROUNDING);
    const values = store.readF32("f32");
    const expected = store.read(dtype.toLowerCase());
    const size = DTYPE_BYTES[dtype];
    const actual = encode(dtype, values);
    assertEquals(actual.length, expected.length);
    for (let i = 0; i < values.length; i++) {
      const [ours, theirs] = [actual, expected].map((bytes) =>
        bytes.subarray(i * size, (i + 1) * size)
      );
      // The payload of a NaN is nobody's business, as long as it stays one.
      if (Number.isNaN(values[i])) assert(Number.isNaN(decoded(dtype, ours.slice())[0]));
      else assertEquals(ours, theirs, `${values[i]}`);
    }
  });

  Deno.test(`reads ${dtype} as PyTorch does`, () => {
    using store = openSafetensors(ROUNDING);
    const back = store.readF32(dtype.toLowerCase());
    assertEquals(decoded(dtype, encode(dtype, back)), back);
  });
}

for (const dtype of ["F16", "BF16"] as const) {
  Deno.test(`every ${dtype} survives the way to f32 and back`, () => {
    const all = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);
    const values = decoded(dtype, new Uint8Array(all.buffer));
    const back = new Uint16Array(encode(dtype, values).buffer);
    for (let i = 0; i < all.length; i++) {
      if (!Number.isNaN(values[i])) assertEquals(back[i], i);
    }
    const infinity = dtype === "F16" ? 0x7c00 : 0x7f80;
    assertEquals(values[infinity], Infinity);
    assertEquals(values[infinity + 0x8000], -Infinity);
    assert(Number.isNaN(values[infinity + 1]));
    assert(Object.is(values[0x8000], -0));
    // The smallest subnormals.
    assertEquals(values[1], dtype === "F16" ? 2 ** -24 : 2 ** -133);
  });
}

Deno.test("a NaN with a payload in its lower half stays a NaN in BF16", () => {
  const values = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001, 0x7fffffff).buffer);
  const bits = new Uint16Array(encode("BF16", values).buffer);
  assertEquals([...bits], [0x7fc0, 0xffc0, 0x7fff]);
});

Deno.test("integers are exact or refused", () => {
  const limits: Partial<Record<Dtype, readonly [number, number]>> = {
    I32: [-(2 ** 31), 2 ** 31 - 1],
    I16: [-(2 ** 15), 2 ** 15 - 1],
    I8: [-128, 127],
    U8: [0, 255],
    BOOL: [0, 1],
    I64: [-(2 ** 31), 2 ** 31 - 1],
  };
  for (const [dtype, [low, high]] of Object.entries(limits) as [Dtype, [number, number]][]) {
    const bytes = encode(dtype, Int32Array.of(low, high));
    const back = new Int32Array(2);
    decodeI32(dtype, bytes, back);
    assertEquals([...back], [low, high], dtype);
    if (dtype === "I32" || dtype === "I64") continue;
    for (const value of [low - 1, high + 1]) {
      assertThrows(() => encode(dtype, Int32Array.of(value)), RangeError, `which ${dtype} does`);
      assertThrows(() => encode(dtype, Float32Array.of(value)), RangeError, `which ${dtype} does`);
    }
  }
  for (const dtype of ["I64", "I32", "I16", "I8", "U8", "BOOL"] as const) {
    assertThrows(() => encode(dtype, Float32Array.of(0, 0.5)), RangeError, "element 1 is 0.5");
    assertThrows(() => encode(dtype, Float32Array.of(NaN)), RangeError, "NaN");
    assertThrows(() => encode(dtype, Float32Array.of(Infinity)), RangeError, "Infinity");
  }
  assertThrows(() => encode("I32", Float32Array.of(2 ** 31)), RangeError);
  assertThrows(() => encode("I64", Float32Array.of(2 ** 63)), RangeError);
});

Deno.test("i32 becomes floating-point only where that is exact", () => {
  for (const [dtype, exact] of [["F64", 2 ** 30 + 1], ["F32", 2 ** 24], ["F16", 2048]] as const) {
    assertEquals([...decoded(dtype, encode(dtype, Int32Array.of(exact)))][0], Math.fround(exact));
  }
  assertThrows(() => encode("F32", Int32Array.of(2 ** 24 + 1)), RangeError, "16777217");
  assertThrows(() => encode("F16", Int32Array.of(2049)), RangeError, "2049");
  assertThrows(() => encode("F16", Int32Array.of(70000)), RangeError, "70000");
  assertEquals(decoded("BF16", encode("BF16", Int32Array.of(256))), Float32Array.of(256));
  assertThrows(() => encode("BF16", Int32Array.of(257)), RangeError, "257");
});

Deno.test("stored integers that f32 or i32 do not hold are refused", () => {
  const i64 = new Uint8Array(BigInt64Array.of(0n, 2n ** 31n).buffer);
  assertThrows(() => decodeI32("I64", i64, new Int32Array(2)), RangeError, "element 1");
  assertEquals(decoded("I64", i64), Float32Array.of(0, 2 ** 31));
  const odd = new Uint8Array(Int32Array.of(2 ** 24 + 1).buffer);
  assertThrows(() => decoded("I32", odd), RangeError, "16777217");
  assertThrows(() => decoded("BOOL", Uint8Array.of(2)), RangeError, "which BOOL does not hold");
  assertThrows(
    () => decodeI32("F32", new Uint8Array(4), new Int32Array(1)),
    RangeError,
    "no integ",
  );
});

Deno.test("unaligned bytes are read; lengths must agree", () => {
  const buffer = new Uint8Array(9);
  buffer.set(new Uint8Array(Float64Array.of(1.5).buffer), 1);
  assertEquals(decoded("F64", buffer.subarray(1)), Float32Array.of(1.5));
  assertThrows(() => decodeF32("F32", new Uint8Array(7), new Float32Array(2)), RangeError);
});

Deno.test("sizes of tensors", () => {
  assertEquals(DTYPES.length, 10);
  assertEquals(tensorBytes("BF16", []), 2);
  assertEquals(tensorBytes("F64", [3, 0, 5]), 0);
  assertEquals(tensorBytes("F32", [2 ** 50, 4]), undefined);
  assertEquals(tensorBytes("F32", [2 ** 53]), undefined);
});
