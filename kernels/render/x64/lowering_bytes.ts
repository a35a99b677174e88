/** Lowers work on the bytes of vectors: products of small whole numbers, and bytes of lanes. */

import type { Expr } from "../../language/syntax.ts";
import { memory } from "./addresses.ts";
import type { Bits } from "./encoding.ts";
import type { Operand, Register } from "./linear.ts";
import { lowerVector } from "./lowering_vectors.ts";
import type { VectorName } from "./opcodes.ts";
import { bitsOf, type Output } from "./output.ts";

/** 1 as two words of 16 bits. */
const ONES = 0x00010001;

/** The bytes of a by those of b, added to c. */
export function dot(c: Output, e: Expr & { kind: "dot" }, bits: Bits, to: Register): void {
  const [sum, a, b] = [e.c, e.a, e.b].map((part) => lowerVector(c, part));
  if (c.dots) return c.emitLate({ op: "dot", bits }, to, [sum, a, b], [a, b]);
  const [words, pairs, ones] = ["vector", "vector", "vector"].map(() => c.register("vector"));
  const emit = (name: VectorName, result: Register, ...from: readonly Operand[]) =>
    c.emit({ op: "vector", name, bits }, result, ...from);
  emit("splat", ones, { constant: c.pool.word(ONES) });
  // Two products of 4 and 8 bits fit into 16.
  emit("multiplyBytes", words, a, b);
  emit("multiplyWords", pairs, words, ones);
  emit("addInteger", to, sum, pairs);
}

/** Each lane from one on so many times. */
export function spread(c: Output, e: Expr & { kind: "spread" }, bits: Bits, to: Register): void {
  const numbers = Array.from({ length: bits / 32 }, (_, i) => e.first + Math.floor(i / e.times));
  const table = c.register("vector");
  c.emit({ op: "vector", name: "load", bits }, table, { constant: c.pool.words(numbers) });
  c.emit({ op: "vector", name: "permuteLanes", bits }, to, table, lowerVector(c, e.a));
}

/** Whole f32 to memory as bytes. */
export function storeBytes(c: Output, value: Expr, at: Expr<"ptr">, offset: number): void {
  const bits = bitsOf(value.type);
  const whole = c.register("vector");
  c.emit({ op: "vector", name: "convertToWhole", bits }, whole, lowerVector(c, value));
  if (c.evex) {
    return c.emit({ op: "byteStore", bits }, undefined, whole, memory(c, at, offset));
  }
  // In every half of a vector by itself: four bytes, four times.
  const [words, bytes] = [c.register("vector"), c.register("vector")];
  c.emit({ op: "vector", name: "packWords", bits }, words, whole, whole);
  c.emit({ op: "vector", name: "packBytes", bits }, bytes, words, words);
  c.emit({ op: "vectorStore", bits: 32 }, undefined, bytes, memory(c, at, offset));
  if (bits === 128) return;
  const upper = c.register("vector");
  c.emit({ op: "vector", name: "upperHalf", bits }, upper, bytes);
  c.emit({ op: "vectorStore", bits: 32 }, undefined, upper, memory(c, at, offset + 4));
}
