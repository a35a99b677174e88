/** Values of the kernel language (syntax.ts): arithmetic, lanes of vectors, loads. */

import {
  type BinaryOp,
  type Expr,
  LANES,
  type Pick4,
  type UnaryOp,
  type ValueType,
  type Vector,
} from "./syntax.ts";

type Real = "f32" | Vector;
type Numeric = "i32" | Real;

/** Whether a type is one of vectors. */
const isVector = (type: ValueType): type is Vector => type in LANES;

/** A constant of a type; a vector holds it in every lane. */
export function constant<T extends ValueType>(type: T, value: number): Expr<T> {
  return { kind: "const", type, value } as Expr<T>;
}

/** A vector constant of its lanes. */
export const vector = (type: Vector, lane: (index: number) => number): Expr<Vector> =>
  ({
    ...{ kind: "vector", type },
    values: Array.from({ length: LANES[type] }, (_, i) => lane(i)),
  }) as Expr<Vector>;

/** An index constant. */
export const i32 = (value: number): Expr<"i32"> => constant("i32", value);

function binary<T extends ValueType>(op: BinaryOp, a: Expr<T>, b: Expr<T>): Expr<T> {
  if (a.type !== b.type) throw new Error(`kernel language: ${op} of ${a.type} and ${b.type}`);
  return { kind: "binary", type: a.type, op, a, b } as Expr<T>;
}

function isConst(e: Expr, value: number): boolean {
  return e.kind === "const" && e.value === value;
}

/** a + b. */
export function add<T extends Numeric>(a: Expr<T>, b: Expr<T>): Expr<T> {
  if (a.type === "i32" && isConst(a, 0)) return b;
  if (a.type === "i32" && isConst(b, 0)) return a;
  return binary("add", a, b);
}
/** a − b. */
export const sub = <T extends Numeric>(a: Expr<T>, b: Expr<T>): Expr<T> => binary("sub", a, b);
/** a · b. */
export function mul<T extends Numeric>(a: Expr<T>, b: Expr<T>): Expr<T> {
  if (a.type === "i32") {
    if (isConst(a, 0) || isConst(b, 1)) return a;
    if (isConst(b, 0) || isConst(a, 1)) return b;
  }
  return binary("mul", a, b);
}
/** a / b; on i32 unsigned and rounded down. */
export const div = <T extends Numeric>(a: Expr<T>, b: Expr<T>): Expr<T> =>
  a.type === "i32" && isConst(b, 1) ? a : binary("div", a, b);
/** a mod b, unsigned. */
export const rem = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> =>
  isConst(b, 1) ? i32(0) : binary("rem", a, b);
/** b < a ? b : a, so a NaN in `a` is kept. */
export const min = <T extends Numeric>(a: Expr<T>, b: Expr<T>): Expr<T> => binary("min", a, b);
/** a < b ? b : a, so a NaN in `a` is kept. */
export const max = <T extends Numeric>(a: Expr<T>, b: Expr<T>): Expr<T> => binary("max", a, b);
/** What a comparison gives: a lane mask for vectors, a 0/1 index for scalars. */
export type Mask<T extends ValueType> = [T] extends [Vector] ? Expr<T> : Expr<"i32">;

function comparison<T extends Numeric>(op: "lt" | "eq", a: Expr<T>, b: Expr<T>): Mask<T> {
  const type = isVector(a.type) ? a.type : "i32";
  return { kind: "binary", type, op, a, b } as unknown as Mask<T>;
}
/** a < b (i32 signed). */
export const lessThan = <T extends Numeric>(a: Expr<T>, b: Expr<T>): Mask<T> =>
  comparison("lt", a, b);
/** Bits of both. */
export const bitAnd = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => binary("and", a, b);
/** Bits of one of both; in kernels of GPUs. */
export const bitXor = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => binary("xor", a, b);
/** a · 2ᵇ without what does not fit, b in 0 … 31; in kernels of GPUs. */
export const shiftLeft = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => binary("shl", a, b);
/** a / 2ᵇ rounded down, signed, b in 0 … 31; in kernels of GPUs. */
export const shiftRight = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => binary("shr", a, b);
/** a = b. */
export const equal = <T extends Numeric>(a: Expr<T>, b: Expr<T>): Mask<T> => comparison("eq", a, b);

function unary<T extends ValueType>(op: UnaryOp, type: T, a: Expr): Expr<T> {
  return { kind: "unary", type, op, a } as Expr<T>;
}
/** −a. */
export const neg = <T extends Real>(a: Expr<T>): Expr<T> => unary("neg", a.type, a);
/** |a|. */
export const abs = <T extends Real>(a: Expr<T>): Expr<T> => unary("abs", a.type, a);
/** √a. */
export const sqrt = <T extends Real>(a: Expr<T>): Expr<T> => unary("sqrt", a.type, a);
/** a rounded to the nearest integer, ties to even. */
export const nearest = <T extends Real>(a: Expr<T>): Expr<T> => unary("nearest", a.type, a);
/** An index as f32. */
export const toF32 = (a: Expr<"i32">): Expr<"f32"> => unary("to_f32", "f32", a);

/** A whole f32 as an index. */
export const toI32 = (a: Expr<"f32">): Expr<"i32"> => unary("to_i32", "i32", a);

/**
 * a rounded to the nearest bf16, ties away from 0. Infinities stay, and so do most NaN: what is left,
 * a less this, is a NaN in any case.
 */
export const nearestBf16 = (a: Expr<Vector>): Expr<Vector> => unary("bf16", a.type, a);

/** Of numbers that are bf16 the bits of both in a lane: a's in its lower half, b's in its upper. */
export const bf16Pairs = (a: Expr<Vector>, b: Expr<Vector>): Expr<Vector> => binary("pairs", a, b);

/** The bits of lanes further to the left, zeros behind them, or to the right, the sign before them. */
export const shiftLanes = (
  a: Expr<Vector>,
  direction: "left" | "right",
  count: number,
): Expr<Vector> =>
  (count === 0 ? a : {
    ...{ kind: "binary", type: a.type, op: direction === "left" ? "shl" : "shr" },
    ...{ a, b: i32(count) },
  }) as Expr<Vector>;

/** The last 16 bits, a finite f16, as f32; in kernels of GPUs. */
export const fromF16 = (bits: Expr<"i32">): Expr<"f32"> => unary("f16_to_f32", "f32", bits);
/** The f32 of some bits; in kernels of GPUs. */
export const asF32 = (bits: Expr<"i32">): Expr<"f32"> => unary("as_f32", "f32", bits);

/** a · b + c, in one rounding where the target has it for vectors. */
export function fma<T extends Real>(a: Expr<T>, b: Expr<T>, c: Expr<T>): Expr<T> {
  return { kind: "fma", type: a.type, a, b, c } as unknown as Expr<T>;
}

/** mask ? a : b, where mask comes from `lessThan` on the same type. */
export function select<T extends Numeric>(mask: Mask<NoInfer<T>>, a: Expr<T>, b: Expr<T>): Expr<T> {
  return { kind: "select", type: a.type, mask, a, b } as unknown as Expr<T>;
}

/**
 * 2ⁿ for an integral f32 n in −126 … 127, and 0 for −127: the exponent bits are built directly.
 * The argument must already be rounded.
 */
export function exp2Integer<T extends Real>(n: Expr<T>): Expr<T> {
  return unary("bits_to_f32", n.type, n);
}

/** e of a = m·2ᵉ, m in [√½, √2), for a positive normal f32; the rest gives any finite value. */
export const exponent = <T extends Real>(a: Expr<T>): Expr<T> => unary("exponent", a.type, a);
/** m of a = m·2ᵉ, m in [√½, √2), for a positive normal f32; the rest gives any finite value. */
export const mantissa = <T extends Real>(a: Expr<T>): Expr<T> => unary("mantissa", a.type, a);

/** A scalar in all lanes of a vector. */
export const splat = <T extends Vector = "f32x4">(
  a: Expr<"f32">,
  type = "f32x4" as T,
): Expr<T> =>
  a.kind === "load" && a.as === "value"
    ? { ...a, type, as: "splat" } as unknown as Expr<T>
    : a.kind === "const"
    ? constant(type, a.value)
    : { kind: "splat", type, a } as unknown as Expr<T>;

/** One lane of a vector. */
export const lane = (a: Expr<Vector>, index: number): Expr<"f32"> =>
  ({ kind: "lane", type: "f32", a, lane: index }) as Expr<"f32">;

/** Lanes picked from two vectors, in every group of four lanes. */
export const shuffle = <T extends Vector>(a: Expr<T>, b: Expr<T>, lanes: Pick4): Expr<T> =>
  ({ kind: "shuffle", type: a.type, a, b, lanes }) as unknown as Expr<T>;

/** Four vectors of four lanes as one of sixteen. */
export const joinQuads = (parts: readonly Expr<"f32x4">[]): Expr<Vector> =>
  ({ kind: "quads", type: "f32x16", parts }) as unknown as Expr<Vector>;

/** The lower half (0) or the upper one (1) of a vector of 8 or 16 lanes. */
export function half(a: Expr<Vector>, which: 0 | 1): Expr<Vector> {
  const type = a.type === "f32x16" ? "f32x8" : "f32x4";
  return { kind: "half", type, a, half: which } as unknown as Expr<Vector>;
}

/** base + bytes. */
export function offset(base: Expr<"ptr">, bytes: Expr<"i32"> | number): Expr<"ptr"> {
  const by = typeof bytes === "number" ? i32(bytes) : bytes;
  if (isConst(by, 0)) return base;
  return { kind: "offset", type: "ptr", base, bytes: by } as Expr<"ptr">;
}

/** The value at base + byteOffset (a constant). */
export function load<T extends Numeric>(
  type: T,
  at: Expr<"ptr">,
  byteOffset = 0,
): Expr<T> {
  return { kind: "load", type, at, offset: byteOffset, as: "value" } as unknown as Expr<T>;
}

/** bf16 values as f32. */
export const loadBf16 = <T extends Real>(
  type: T,
  at: Expr<"ptr">,
  byteOffset = 0,
): Expr<T> => ({ kind: "load", type, at, offset: byteOffset, as: "bf16" }) as unknown as Expr<T>;

/** f16 values as f32; what infinities and NaN become depends on the target. */
export const loadF16 = <T extends Real>(
  type: T,
  at: Expr<"ptr">,
  byteOffset = 0,
): Expr<T> => ({ kind: "load", type, at, offset: byteOffset, as: "f16" }) as unknown as Expr<T>;

/** Signed bytes as f32. */
export const loadI8 = <T extends Vector>(type: T, at: Expr<"ptr">, byteOffset = 0): Expr<T> =>
  ({ kind: "load", type, at, offset: byteOffset, as: "i8" }) as unknown as Expr<T>;

/** Bytes as the last bits of lanes, for `lowQuants` and `highQuants`. */
export const loadPairs = <T extends Vector>(type: T, at: Expr<"ptr">, byteOffset = 0): Expr<T> =>
  ({ kind: "load", type, at, offset: byteOffset, as: "u8" }) as unknown as Expr<T>;

/** The last four bits of bytes less 8: −8 … 7. */
export const lowQuants = <T extends Vector>(a: Expr<T>): Expr<T> => unary("low4", a.type, a);
/** The first four bits of bytes less 8: −8 … 7. */
export const highQuants = <T extends Vector>(a: Expr<T>): Expr<T> => unary("high4", a.type, a);

/** The last four bits of every byte of a vector, as bytes. */
export const lowNibbles = <T extends Vector>(a: Expr<T>): Expr<T> =>
  unary("low_nibbles", a.type, a);
/** The first four bits of every byte of a vector, as bytes. */
export const highNibbles = <T extends Vector>(a: Expr<T>): Expr<T> =>
  unary("high_nibbles", a.type, a);
/** 128 more than every byte of a vector, −128 … 127: 0 … 255. */
export const unsignedBytes = <T extends Vector>(a: Expr<T>): Expr<T> =>
  unary("unsigned_bytes", a.type, a);
/** Lanes that hold whole numbers of 32 bits, as `dotBytes` gives them, as f32. */
export const wholeToF32 = <T extends Vector>(a: Expr<T>): Expr<T> =>
  unary("whole_to_f32", a.type, a);

/**
 * Products of the bytes of a, 0 … 15, with those of b, −128 … 127, added to c, whose lanes hold whole
 * numbers. Of a group of four lanes only the sum is defined: targets have a group's sixteen products
 * in different lanes of it. With AVX-512 VNNI bytes of a are 0 … 255, and four of them a lane.
 */
export const dotBytes = <T extends Vector>(a: Expr<T>, b: Expr<T>, c: Expr<T>): Expr<T> =>
  ({ kind: "dot", type: a.type, a, b, c }) as unknown as Expr<T>;

/** Four lanes of memory in every group of four lanes. */
export const loadQuad = <T extends Vector>(type: T, at: Expr<"ptr">, byteOffset = 0): Expr<T> =>
  ({ kind: "load", type, at, offset: byteOffset, as: "quad" }) as unknown as Expr<T>;

/** Each lane of a from one on four times, or eight: as many as a type has lanes. */
export const spread = (
  a: Expr<Vector>,
  first: number,
  type: Vector,
  times: 4 | 8 = 4,
): Expr<Vector> =>
  (type === "f32x4"
    ? shuffle(a, a, [first, first, first, first] as unknown as Pick4)
    : { kind: "spread", type, a, first, times }) as Expr<Vector>;
