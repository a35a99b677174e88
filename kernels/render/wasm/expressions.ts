/**
 * The code of values. A vector of eight lanes is two of WebAssembly's, each with code of its own;
 * so what is written of it is always one group of four lanes.
 */

import type { BinaryOp, Expr, UnaryOp } from "../../language/syntax.ts";
import { EXP2_SHIFT, HALF_ROOT_BITS, LOWEST_QUANT } from "../bits.ts";
import {
  F32_BINARY,
  f32Bytes,
  F32X4_BINARY,
  I32_BINARY,
  signed,
  signed64,
  simd,
  UNARY,
} from "./encoding.ts";
import { loadBytes, writeLoad } from "./loads.ts";
import type { Output, Quad } from "./output.ts";

/** Whether a value is one of WebAssembly's vectors. */
const isWide = (e: Expr): boolean => e.type === "f32x4" || e.type === "f32x8";

/** Writes an address; returns what is constant of it, which goes into an instruction. */
export function writeAddress(o: Output, at: Expr<"ptr">, constantOffset: number): number {
  if (at.kind === "offset" && at.bytes.kind === "const" && at.bytes.value >= 0) {
    return writeAddress(o, at.base, constantOffset + at.bytes.value);
  }
  writeValue(o, at);
  return constantOffset;
}

/** A number of bytes, as wide as addresses are. It is less than 2 GiB, and may be negative. */
export function writeBytes(o: Output, e: Expr<"i32">): void {
  if (o.addresses === "i32") return writeValue(o, e);
  if (e.kind === "const") return o.emit(0x42, ...signed64(e.value));
  writeValue(o, e);
  o.emit(0xac);
}

/** Writes a value, or of a vector of eight lanes one group of four. */
export function writeValue(o: Output, e: Expr, quad: Quad = 0): void {
  const wide = isWide(e);
  switch (e.kind) {
    case "const":
      if (wide) o.vectorConstant(e.value);
      else if (e.type === "f32") o.emit(0x43, ...f32Bytes(e.value));
      else if (e.type === "ptr" && o.addresses === "i64") o.emit(0x42, ...signed64(e.value));
      else o.emit(0x41, ...signed(e.value));
      return;
    case "vector":
      o.emit(...simd(0x0c));
      e.values.slice(4 * quad, 4 * quad + 4).forEach((value) => o.emit(...f32Bytes(value)));
      return;
    case "local":
      return o.get(o.place(e, quad));
    case "unary":
      return writeUnary(o, e.op, e, quad);
    case "binary":
      return writeBinary(o, e.op, e, quad);
    case "fma":
      writeValue(o, e.a, quad);
      writeValue(o, e.b, quad);
      if (wide && o.features.relaxedSimd) {
        writeValue(o, e.c, quad);
        o.emit(...simd(0x105));
      } else {
        o.emit(...(wide ? simd(0xe6) : [0x94]));
        writeValue(o, e.c, quad);
        o.emit(...(wide ? simd(0xe4) : [0x92]));
      }
      return;
    case "load": {
      const at = writeAddress(o, e.at, e.offset + quad * loadBytes(e.as));
      return writeLoad(o, e.as, e.type, at);
    }
    case "select":
      writeValue(o, e.a, quad);
      writeValue(o, e.b, quad);
      writeValue(o, e.mask, quad);
      o.emit(...(wide ? simd(0x52) : [0x1b]));
      return;
    case "splat":
      writeValue(o, e.a);
      o.emit(...simd(0x13));
      return;
    case "lane":
      writeValue(o, e.a, e.lane < 4 ? 0 : 1);
      o.emit(...simd(0x1f), e.lane % 4);
      return;
    case "half":
      if (e.a.type !== "f32x8") break;
      return writeValue(o, e.a, e.half);
    case "shuffle":
      writeValue(o, e.a, quad);
      writeValue(o, e.b, quad);
      return writeShuffle(o, e.lanes);
    case "spread": {
      const lane = e.first + Math.floor(4 * quad / e.times);
      for (let i = 0; i < 2; i++) writeValue(o, e.a, lane < 4 ? 0 : 1);
      return writeShuffle(o, [lane % 4, lane % 4, lane % 4, lane % 4]);
    }
    case "dot":
      return writeDot(o, e, quad);
    case "quads":
      break;
    case "offset":
      writeValue(o, e.base);
      writeBytes(o, e.bytes);
      o.emit(o.addresses === "i64" ? 0x7c : 0x6a);
      return;
    default:
      e satisfies never;
  }
  throw new Error(`wasm: no ${e.kind} with ${e.type}: vectors have at most eight lanes`);
}

function writeShuffle(o: Output, lanes: readonly number[]): void {
  o.emit(...simd(0x0d), ...lanes.flatMap((l) => [4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3]));
}

/** Bytes of b are signed; those of a, which have four bits, may be called signed or not. */
function writeDot(o: Output, { a, b, c }: Expr & { kind: "dot" }, quad: Quad): void {
  if (o.features.relaxedSimd) {
    for (const part of [b, a, c]) writeValue(o, part, quad);
    return o.emit(...simd(0x113));
  }
  const [x, y] = [a, b].map((part) => {
    const held = o.scratch("f32x4");
    writeValue(o, part, quad);
    o.set(held);
    return held;
  });
  // Products of the lower bytes and of the upper ones fit into 16 bits, two of them added as well.
  for (const product of [0x9c, 0x9d]) {
    o.get(x);
    o.get(y);
    o.emit(...simd(product));
  }
  o.emit(...simd(0x8e), ...simd(0x7e));
  writeValue(o, c, quad);
  o.emit(...simd(0xae));
}

function writeUnary(o: Output, op: UnaryOp, e: Expr & { kind: "unary" }, quad: Quad): void {
  const wide = isWide(e);
  writeValue(o, e.a, quad);
  switch (op) {
    case "low_nibbles":
      return o.emit(0x41, 15, ...simd(0x0f), ...simd(0x4e));
    case "high_nibbles":
      return o.emit(0x41, 4, ...simd(0x6d));
    case "unsigned_bytes":
      return o.emit(0x41, ...signed(-128), ...simd(0x0f), ...simd(0x51));
    case "bits_to_f32":
      // 2ⁿ: the last bits of n + 1.5·2²³ + 127 are n + 127, which belong into the exponent.
      if (wide) {
        o.vectorConstant(EXP2_SHIFT);
        o.emit(...simd(0xe4), 0x41, ...signed(23), ...simd(0xab));
      } else {
        o.emit(0x43, ...f32Bytes(EXP2_SHIFT), 0x92, 0xbc, 0x41, ...signed(23), 0x74, 0xbe);
      }
      return;
    case "low4":
    case "high4":
      if (op === "high4") o.emit(0x41, 4, ...simd(0xad));
      else o.emit(0x41, 28, ...simd(0xab), 0x41, 28, ...simd(0xad));
      o.emit(...simd(0xfa));
      o.vectorConstant(LOWEST_QUANT);
      return o.emit(...simd(0xe5));
    case "exponent":
      // (bits − those of √½) >> 23, which is signed.
      if (wide) {
        o.emit(0x41, ...signed(HALF_ROOT_BITS), ...simd(0x11), ...simd(0xb1));
        o.emit(0x41, ...signed(23), ...simd(0xac), ...simd(0xfa));
      } else {
        o.emit(0xbc, 0x41, ...signed(HALF_ROOT_BITS), 0x6b, 0x41, ...signed(23), 0x75, 0xb2);
      }
      return;
    case "mantissa":
      // ((bits − those of √½) & the fraction) + those of √½.
      if (wide) {
        const root = [0x41, ...signed(HALF_ROOT_BITS), ...simd(0x11)];
        const fraction = [0x41, ...signed(0x7fffff), ...simd(0x11)];
        o.emit(...root, ...simd(0xb1), ...fraction, ...simd(0x4e), ...root, ...simd(0xae));
      } else {
        const root = [0x41, ...signed(HALF_ROOT_BITS)];
        o.emit(0xbc, ...root, 0x6b, 0x41, ...signed(0x7fffff), 0x71, ...root, 0x6a, 0xbe);
      }
      return;
  }
  const code = UNARY[op]?.[wide ? "f32x4" : e.type];
  if (code === undefined) throw new Error(`wasm: no ${op} of ${e.type}`);
  o.emit(...code);
}

function writeBinary(o: Output, op: BinaryOp, e: Expr & { kind: "binary" }, quad: Quad): void {
  const { a, b } = e;
  if (!isWide(a) && (op === "min" || op === "max")) {
    const [x, y] = [o.scratch(a.type), o.scratch(a.type)];
    writeValue(o, a);
    o.set(x);
    writeValue(o, b);
    o.tee(y);
    o.get(x);
    for (const place of op === "min" ? [y, x] : [x, y]) o.get(place);
    return o.emit(...(a.type === "f32" ? [0x5d] : [0x48]), 0x1b);
  }
  writeValue(o, a, quad);
  writeValue(o, b, quad);
  const table = a.type === "f32" ? F32_BINARY : isWide(a) ? F32X4_BINARY : I32_BINARY;
  const code = table[op];
  if (code === undefined) throw new Error(`wasm: no ${op} of ${a.type}`);
  o.emit(...code);
}
