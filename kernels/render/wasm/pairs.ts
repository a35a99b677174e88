/**
 * Statements with vectors of eight lanes, as pairs of WebAssembly's vectors.
 *
 * V8's revectorizer (src/compiler/turboshaft/wasm-revec-phase.cc) makes one instruction of AVX2 of
 * two that do the same. It begins with two stores side by side and follows what they store through
 * arithmetic, loads and loops. So the halves of a statement are alike, they read addresses and
 * scalars from the same locals, and nothing lies between two stores. Whatever it does, the code is
 * right; where it does nothing, there are twice as many vectors as registers hold.
 */

import type { Expr, Statement, ValueType } from "../../language/syntax.ts";
import { simd, unsigned } from "./encoding.ts";
import { writeAddress, writeValue } from "./expressions.ts";
import { atPlace, type Output, type Quad, quads } from "./output.ts";

const HALVES = [0, 1] as const satisfies readonly Quad[];
/** Of two stores in this order V8 leaves one; in the other order it keeps the lower one as well. */
const UPPER_FIRST = [1, 0] as const satisfies readonly Quad[];

/** Whether there are stores of eight lanes, with which V8 begins. */
export function storesPairs(list: readonly Statement[]): boolean {
  return list.some((s) => {
    switch (s.kind) {
      case "store":
        return quads(s.value.type) === 2;
      case "for":
        return storesPairs(s.body);
      case "if":
        return storesPairs(s.then) || storesPairs(s.otherwise);
      default:
        return false;
    }
  });
}

/** A value that is computed once, before the statement. */
function held<T extends ValueType>(o: Output, e: Expr<T>): Expr<T> {
  if (e.kind === "local" || e.kind === "const") return e;
  const place = o.scratch(e.type);
  writeValue(o, e);
  o.set(place);
  return atPlace(e.type, place);
}

/** An address whose variable part is computed once. */
function heldAddress(o: Output, at: Expr<"ptr">): Expr<"ptr"> {
  return at.kind === "offset" && at.bytes.kind === "const"
    ? { ...at, base: heldAddress(o, at.base) } as Expr<"ptr">
    : held(o, at);
}

/** The same value with everything in locals that both halves read. */
function prepared<T extends ValueType>(o: Output, e: Expr<T>): Expr<T> {
  const part = <P extends ValueType>(inner: Expr<P>) => prepared(o, inner);
  const made = (): Expr => {
    switch (e.kind) {
      case "unary":
      case "spread":
        return { ...e, a: part(e.a) };
      case "shuffle":
      case "binary":
        return { ...e, a: part(e.a), b: part(e.b) };
      case "fma":
      case "dot":
        return { ...e, a: part(e.a), b: part(e.b), c: part(e.c) };
      case "select":
        return { ...e, a: part(e.a), b: part(e.b), mask: part(e.mask) };
      case "splat":
        return { ...e, a: held(o, e.a) };
      case "load":
        return { ...e, at: heldAddress(o, e.at) };
      case "const":
      case "vector":
      case "local":
      case "lane":
      case "half":
      case "quads":
      case "offset":
        return e;
      default:
        return e satisfies never;
    }
  };
  return made() as Expr<T>;
}

/** Sets a local of eight lanes. */
export function setPair(o: Output, { local, value }: Statement & { kind: "set" }): void {
  const ready = prepared(o, value);
  // Both are computed before one is set: the value may be of the local.
  for (const quad of HALVES) writeValue(o, ready, quad);
  for (const quad of UPPER_FIRST) o.set(o.place(local, quad));
}

/** Stores eight lanes. */
export function storePair(o: Output, s: Statement & { kind: "store" }): void {
  const at = heldAddress(o, s.at);
  const ready = prepared(o, s.value);
  const offsets = HALVES.map((quad) => {
    const bytes = writeAddress(o, at, s.offset + 16 * quad);
    writeValue(o, ready, quad);
    return bytes;
  });
  for (const quad of UPPER_FIRST) o.emit(...simd(0x0b), 4, ...unsigned(offsets[quad]));
}
