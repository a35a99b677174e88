/** Addresses as memory operands: a base, an index by a scale, and a constant. */

import type { Expr } from "../../language/syntax.ts";
import type { MemoryOperand } from "./linear.ts";
import { integer } from "./lowering_integers.ts";
import type { Output } from "./output.ts";

type Pointer = Expr<"ptr">;
type Index = Expr<"i32">;

/** An address while its parts are collected. */
export interface Parts {
  readonly base: Pointer;
  readonly disp: number;
  readonly index?: { readonly value: Index; readonly scale: 1 | 2 | 4 | 8 };
}

/** A pointer taken apart, as far as one operand can hold it. */
export function addressParts(c: Output, at: Pointer, disp: number): Parts {
  if (at.kind === "local") {
    const alias = c.aliases.get(at.index);
    return alias === undefined ? { base: at, disp } : addressParts(c, alias, disp);
  }
  if (at.kind !== "offset") return { base: at, disp };
  const inner = addressParts(c, at.base, disp);
  const { value, scale, constant } = scaledIndex(at.bytes);
  const total = inner.disp + constant;
  if (value === undefined) return { ...inner, disp: total };
  if (inner.index === undefined) return { ...inner, disp: total, index: { value, scale } };
  // A second index: the first one joins the base.
  return { base: partsToPointer(inner), disp: total, index: { value, scale } };
}

/** Memory at a pointer. */
export function memory(c: Output, at: Pointer, offset: number): MemoryOperand {
  const { base, disp, index } = addressParts(c, at, offset);
  const register = integer(c, base);
  if (index === undefined) return { base: register, scale: 1, disp };
  return { base: register, index: integer(c, index.value), scale: index.scale, disp };
}

/** value·scale + constant. */
function scaledIndex(
  bytes: Index,
): { value?: Index; scale: 1 | 2 | 4 | 8; constant: number } {
  if (bytes.kind === "const") return { scale: 1, constant: bytes.value };
  if (bytes.kind === "binary") {
    const [a, b] = [bytes.a as Index, bytes.b as Index];
    if ((bytes.op === "add" || bytes.op === "sub") && b.kind === "const") {
      const inner = scaledIndex(a);
      return { ...inner, constant: inner.constant + (bytes.op === "add" ? 1 : -1) * b.value };
    }
    if (bytes.op === "add" && a.kind === "const") {
      const inner = scaledIndex(b);
      return { ...inner, constant: inner.constant + a.value };
    }
    if (bytes.op === "mul" && b.kind === "const") {
      const inner = scaledIndex(a);
      if (inner.value === undefined) return { scale: 1, constant: inner.constant * b.value };
      const constant = inner.constant * b.value;
      const scale = inner.scale * b.value;
      if (scale === 1 || scale === 2 || scale === 4 || scale === 8) {
        return { value: inner.value, scale, constant };
      }
      const value = {
        ...{ kind: "binary", type: "i32", op: "mul", a: inner.value },
        b: { kind: "const", type: "i32", value: scale },
      } as Index;
      return { value, scale: 1, constant };
    }
  }
  return { value: bytes, scale: 1, constant: 0 };
}

/** A pointer with an index as an expression again. */
function partsToPointer({ base, index }: Parts): Pointer {
  const { value, scale } = index!;
  const bytes = scale === 1 ? value : {
    ...{ kind: "binary", type: "i32", op: "mul", a: value },
    b: { kind: "const", type: "i32", value: scale },
  } as Index;
  return { kind: "offset", type: "ptr", base, bytes } as Pointer;
}
