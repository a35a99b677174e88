/**
 * Elementary functions for kernels, as polynomials on a small interval.
 *
 * Errors are at most 2 ulp (`sigmoid`: 2.5) for every argument, infinities and NaN included, except
 * that results of `exp`, `exp2` and `sigmoid` below 1.7e-38 may become 0. Coefficients are minimax
 * fits of the relative error; the shape of `log` and `tanh` follows Cephes (netlib.org/cephes).
 */

import type { Binder } from "./block.ts";
import {
  abs,
  add,
  constant,
  div,
  exp2Integer,
  exponent,
  fma,
  lessThan,
  mantissa,
  max,
  min,
  mul,
  nearest,
  neg,
  select,
  sub,
} from "./language.ts";
import type { Expr, Vector } from "./syntax.ts";

type Real = "f32" | Vector;

/** c₀ + c₁x + c₂x² + …. */
function polynomial<T extends Real>(x: Expr<T>, coefficients: readonly number[]): Expr<T> {
  return coefficients
    .map((c) => constant(x.type as T, c))
    .reduceRight((sum, c) => fma(sum, x, c));
}

// 2·eʳ for |r| ≤ ½·ln 2, and 2·2ʳ for |r| ≤ ½. Twice, because 2ⁿ⁻¹ reaches further than 2ⁿ.
const EXP = [
  1,
  1,
  0.500000043712,
  0.166663641757,
  0.0416647693466,
  8.37910690411e-3,
  1.4061603525e-3,
]
  .map((c) => 2 * c);
const EXP2 = [
  1,
  0.693147215185,
  0.240226527961,
  0.0555031012952,
  9.61769113955e-3,
  1.34067970945e-3,
  1.55950802839e-4,
].map((c) => 2 * c);

// ln 2 = LN2_HIGH + LN2_LOW; the first has 9 bits, so that its product with a small n is exact.
const LN2_HIGH = 355 / 512;
const LN2_LOW = -2.12194440054691e-4;

/** eˣ. */
export function exp<T extends Real>(x: Expr<T>, k: Binder): Expr<T> {
  const c = (value: number) => constant(x.type as T, value);
  const bounded = k.let(max(min(x, c(89)), c(-87.6)));
  const n = k.let(nearest(mul(bounded, c(Math.LOG2E))));
  const r = k.let(fma(n, c(-LN2_LOW), fma(n, c(-LN2_HIGH), bounded)));
  return mul(polynomial(r, EXP), exp2Integer(sub(n, c(1))));
}

/** 2ˣ. */
export function exp2<T extends Real>(x: Expr<T>, k: Binder): Expr<T> {
  const c = (value: number) => constant(x.type as T, value);
  const bounded = k.let(max(min(x, c(128)), c(-126)));
  const n = k.let(nearest(bounded));
  const r = k.let(sub(bounded, n));
  return mul(polynomial(r, EXP2), exp2Integer(sub(n, c(1))));
}

// (ln(1+f) − f + ½f²)/f³ for 1+f in [√½, √2).
const LOG = [
  0.333333317078,
  -0.250008210285,
  0.200012268731,
  -0.16623357535,
  0.142017579983,
  -0.131601804663,
  0.127615773481,
  -0.0763450290965,
];

/** Natural logarithm: −∞ of 0, NaN of what is negative. */
export function log<T extends Real>(x: Expr<T>, k: Binder): Expr<T> {
  const c = (value: number) => constant(x.type as T, value);
  const subnormal = k.let(lessThan(x, c(2 ** -126)) as Expr) as ReturnType<typeof lessThan<T>>;
  const normal = k.let(select(subnormal, mul(x, c(2 ** 23)), x));
  const e = k.let(sub(exponent(normal), select(subnormal, c(23), c(0))));
  const f = k.let(sub(mantissa(normal), c(1)));
  const square = k.let(mul(f, f));
  const tail = fma(mul(polynomial(f, LOG), f), square, mul(e, c(LN2_LOW)));
  const finite = fma(e, c(LN2_HIGH), add(f, fma(square, c(-0.5), tail)));
  const special = select(lessThan(x, c(0)), c(NaN), c(-Infinity));
  const positive = select(lessThan(c(0), x), finite, special);
  return select(lessThan(x, c(Infinity)), positive, x);
}

// (tanh x − x)/x³ in powers of x², for |x| ≤ 0.63.
const TANH = [
  -0.333332802214,
  0.133313836855,
  -0.0537340028411,
  0.0206181309946,
  -5.6793131297e-3,
];

/** Hyperbolic tangent. */
export function tanh<T extends Real>(x: Expr<T>, k: Binder): Expr<T> {
  const c = (value: number) => constant(x.type as T, value);
  const size = k.let(abs(x));
  const large = k.let(sub(c(1), div(c(2), add(exp(add(size, size), k), c(1)))));
  const square = k.let(mul(x, x));
  const small = fma(mul(x, square), polynomial(square, TANH), x);
  const signed = select(lessThan(x, c(0)), neg(large), large);
  return select(lessThan(size, c(0.625)), small, signed);
}

/** 1/(1 + e⁻ˣ). */
export function sigmoid<T extends Real>(x: Expr<T>, k: Binder): Expr<T> {
  const one = constant(x.type as T, 1);
  return div(one, add(exp(neg(x), k), one));
}
