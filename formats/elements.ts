/**
 * Between stored elements and the arrays that we compute with. Exact wherever the target type holds
 * the value; otherwise rounded to nearest, ties to even, from one floating-point type to another,
 * and refused with a RangeError where integers are involved.
 */
import { type Dtype, DTYPE_BYTES } from "./dtype.ts";

type Elements = ArrayLike<number> & ArrayBufferView;

/** A view of the bytes as elements; copied first where they are not aligned. */
function view<T>(
  bytes: Uint8Array,
  type: { new (buffer: ArrayBufferLike, offset: number, length: number): T },
  size: number,
): T {
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new type(aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
}

function check(dtype: Dtype, bytes: Uint8Array, elements: number): void {
  if (bytes.byteLength !== elements * DTYPE_BYTES[dtype]) {
    throw new RangeError(`${bytes.byteLength} bytes are not ${elements} elements of ${dtype}`);
  }
}

function refuse(value: number | bigint, index: number, type: string): never {
  throw new RangeError(`element ${index} is ${value}, which ${type} does not hold`);
}

/**
 * Stored elements as f32 numbers. F64 is rounded; the other floating-point types are exact, NaN
 * included; integers must be exact.
 * @throws RangeError for an integer that f32 does not hold.
 */
export function decodeF32(dtype: Dtype, bytes: Uint8Array, into: Float32Array): void {
  check(dtype, bytes, into.length);
  switch (dtype) {
    case "F32":
      return bytesOf(into).set(bytes);
    case "BF16": {
      const from = view(bytes, Uint16Array, 2);
      const bits = new Uint32Array(into.buffer, into.byteOffset, into.length);
      for (let i = 0; i < bits.length; i++) bits[i] = from[i] << 16;
      return;
    }
    case "F16":
      return into.set(view(bytes, Float16Array, 2));
    case "F64":
      return into.set(view(bytes, Float64Array, 8));
    case "I64": {
      const from = view(bytes, BigInt64Array, 8);
      for (let i = 0; i < from.length; i++) {
        into[i] = Number(from[i]);
        if (BigInt(into[i]) !== from[i]) refuse(from[i], i, "F32");
      }
      return;
    }
    case "I32": {
      const from = view(bytes, Int32Array, 4);
      for (let i = 0; i < from.length; i++) {
        into[i] = from[i];
        if (into[i] !== from[i]) refuse(from[i], i, "F32");
      }
      return;
    }
    case "I16":
      return into.set(view(bytes, Int16Array, 2));
    case "I8":
      return into.set(view(bytes, Int8Array, 1));
    case "U8":
      return into.set(bytes);
    case "BOOL":
      return setBooleans(bytes, into);
    default:
      dtype satisfies never;
  }
}

/**
 * Stored integers as i32 numbers.
 * @throws RangeError for a value that i32 does not hold, and for floating-point types.
 */
export function decodeI32(dtype: Dtype, bytes: Uint8Array, into: Int32Array): void {
  check(dtype, bytes, into.length);
  switch (dtype) {
    case "I64": {
      const from = view(bytes, BigInt64Array, 8);
      for (let i = 0; i < from.length; i++) {
        into[i] = Number(from[i]);
        if (BigInt(into[i]) !== from[i]) refuse(from[i], i, "I32");
      }
      return;
    }
    case "I32":
      return into.set(view(bytes, Int32Array, 4));
    case "I16":
      return into.set(view(bytes, Int16Array, 2));
    case "I8":
      return into.set(view(bytes, Int8Array, 1));
    case "U8":
      return into.set(bytes);
    case "BOOL":
      return setBooleans(bytes, into);
    case "F64":
    case "F32":
    case "F16":
    case "BF16":
      throw new RangeError(`${dtype} holds no integers`);
    default:
      dtype satisfies never;
  }
}

function setBooleans(bytes: Uint8Array, into: Float32Array | Int32Array): void {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] > 1) refuse(bytes[i], i, "BOOL");
    into[i] = bytes[i];
  }
}

/**
 * f32 or i32 numbers as stored elements. A NaN stays one.
 * @throws RangeError where an integer type, or a floating-point type from i32, does not hold a value.
 */
export function encode(dtype: Dtype, values: Float32Array | Int32Array): Uint8Array {
  const integers = values instanceof Int32Array;
  const buffer = new ArrayBuffer(values.length * DTYPE_BYTES[dtype]);
  switch (dtype) {
    case "F64":
      return store(dtype, values, new Float64Array(buffer), integers);
    case "F32":
      return integers
        ? store(dtype, values, new Float32Array(buffer), true)
        // As bytes, so that the payload of a NaN survives.
        : store(dtype, bytesOf(values), new Uint8Array(buffer), false);
    case "F16":
      return store(dtype, values, new Float16Array(buffer), integers);
    case "BF16":
      return encodeBf16(values, new Uint16Array(buffer));
    case "I64":
      return encodeI64(values, new BigInt64Array(buffer));
    case "I32":
      return store(dtype, values, new Int32Array(buffer), true);
    case "I16":
      return store(dtype, values, new Int16Array(buffer), true);
    case "I8":
      return store(dtype, values, new Int8Array(buffer), true);
    case "U8":
      return store(dtype, values, new Uint8Array(buffer), true);
    case "BOOL":
      for (let i = 0; i < values.length; i++) {
        if (values[i] !== 0 && values[i] !== 1) refuse(values[i], i, dtype);
      }
      return store(dtype, values, new Uint8Array(buffer), false);
    default:
      return dtype satisfies never;
  }
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function encodeI64(values: Elements, out: BigInt64Array<ArrayBuffer>): Uint8Array {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!Number.isInteger(value) || value < -(2 ** 63) || value >= 2 ** 63) {
      refuse(value, i, "I64");
    }
    out[i] = BigInt(value);
  }
  return new Uint8Array(out.buffer);
}

/** Stores the values, `exactly` or rounded. */
function store(
  dtype: Dtype,
  values: Elements,
  out: Elements & { set(values: ArrayLike<number>): void },
  exactly: boolean,
): Uint8Array {
  out.set(values);
  if (exactly) {
    for (let i = 0; i < values.length; i++) {
      if (out[i] !== values[i]) refuse(values[i], i, dtype);
    }
  }
  return new Uint8Array(out.buffer as ArrayBuffer);
}

function encodeBf16(
  values: Float32Array | Int32Array,
  out: Uint16Array<ArrayBuffer>,
): Uint8Array {
  const floats = values instanceof Float32Array ? values : Float32Array.from(values);
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i];
    // A NaN whose payload lies in the lower half only would round to infinity: keep it quiet.
    out[i] = (x & 0x7fffffff) > 0x7f800000
      ? (x >>> 16) | 0x40
      : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  if (values instanceof Int32Array) {
    const back = new Uint32Array(1);
    const number = new Float32Array(back.buffer);
    for (let i = 0; i < out.length; i++) {
      back[0] = out[i] << 16;
      if (number[0] !== values[i]) refuse(values[i], i, "BF16");
    }
  }
  return new Uint8Array(out.buffer);
}
