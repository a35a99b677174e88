/** WebAssembly's binary encoding: opcodes, numbers, sections. */

import type { BinaryOp, UnaryOp, ValueType } from "../../language/syntax.ts";

/** Codes of value types. */
const VALUE_TYPES = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  /** A group of four lanes of any vector. */
  ...{ f32x4: 0x7b, f32x8: 0x7b, f32x16: 0x7b },
} as const;

/** The code of a type, where addresses are of the other one. */
export const valueType = (type: ValueType, addresses: "i32" | "i64"): number =>
  VALUE_TYPES[type === "ptr" ? addresses : type];

/** The bytes of an instruction. */
export type Opcode = readonly number[];
/** A vector instruction. */
export const simd = (code: number): Opcode => [0xfd, ...unsigned(code)];

/** Instructions on two values, by type. */
export const I32_BINARY: Partial<Record<BinaryOp, Opcode>> = {
  add: [0x6a],
  sub: [0x6b],
  mul: [0x6c],
  div: [0x6e],
  rem: [0x70],
  and: [0x71],
  lt: [0x48],
  eq: [0x46],
};
export const F32_BINARY: Partial<Record<BinaryOp, Opcode>> = {
  add: [0x92],
  sub: [0x93],
  mul: [0x94],
  div: [0x95],
  lt: [0x5d],
  eq: [0x5b],
};
export const F32X4_BINARY: Partial<Record<BinaryOp, Opcode>> = {
  add: simd(0xe4),
  sub: simd(0xe5),
  mul: simd(0xe6),
  div: simd(0xe7),
  min: simd(0xea),
  max: simd(0xeb),
  lt: simd(0x43),
  eq: simd(0x41),
};
/** Instructions on one value. */
export const UNARY: Partial<Record<UnaryOp, Partial<Record<ValueType, Opcode>>>> = {
  neg: { f32: [0x8c], f32x4: simd(0xe1) },
  abs: { f32: [0x8b], f32x4: simd(0xe0) },
  sqrt: { f32: [0x91], f32x4: simd(0xe3) },
  nearest: { f32: [0x90], f32x4: simd(0x6a) },
  to_f32: { f32: [0xb2] },
  whole_to_f32: { f32x4: simd(0xfa) },
  to_i32: { i32: [0xfc, 0x00] },
};

/** Unsigned LEB128. */
export function unsigned(value: number): number[] {
  const bytes: number[] = [];
  do {
    const low = value % 128;
    value = Math.floor(value / 128);
    bytes.push(value > 0 ? low | 0x80 : low);
  } while (value > 0);
  return bytes;
}

/** Signed LEB128 of a 32-bit integer. */
export function signed(value: number): number[] {
  const bytes: number[] = [];
  value |= 0;
  while (true) {
    const low = value & 0x7f;
    value >>= 7;
    const done = (value === 0 && (low & 0x40) === 0) || (value === -1 && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}

/** Signed LEB128 of a whole number of up to 53 bits. */
export function signed64(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = BigInt(value);;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const done = (rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}

/** The bytes of an f32. */
export function f32Bytes(value: number): Uint8Array {
  return new Uint8Array(new Float32Array([value]).buffer);
}

/** A section of a module. */
export function section(id: number, content: readonly number[]): number[] {
  return [id, ...unsigned(content.length), ...content];
}

/** A name. */
export function text(value: string): number[] {
  const bytes = [...new TextEncoder().encode(value)];
  return [...unsigned(bytes.length), ...bytes];
}
