/**
 * Lowers a kernel's statements to instructions.
 *
 * An i32 is kept as a 64-bit number, so that offsets may pass 2 GiB and need no extension. An f32
 * is the first lane of a vector register; the others hold what they like. Addresses that are a
 * pointer and a constant cost no register, and what does not change in a loop is computed before it.
 */

import { offset } from "../../language/language.ts";
import type { Expr, Statement, TileAction } from "../../language/syntax.ts";
import { setIn } from "../walk.ts";
import { addressParts, memory } from "./addresses.ts";
import type { Bits } from "./encoding.ts";
import type { Immediate, MemoryOperand, Register } from "./linear.ts";
import {
  comparison,
  constantRegister,
  integer,
  integerOperand,
  OPPOSITE,
} from "./lowering_integers.ts";
import { storeBytes } from "./lowering_bytes.ts";
import { lowerVector } from "./lowering_vectors.ts";
import { bitsOf, type Output } from "./output.ts";

type Loop = Statement & { kind: "for" };
type Pointer = Expr<"ptr">;
type Index = Expr<"i32">;

/** Lowers statements. */
export function lowerStatements(c: Output, list: readonly Statement[]): void {
  for (const each of list) statement(c, each);
}

function statement(c: Output, s: Statement): void {
  switch (s.kind) {
    case "set":
      lowerSet(c, s.local, s.value);
      return;
    case "store": {
      const { type } = s.value;
      if (type === "i32" || type === "ptr") {
        const value = integer(c, s.value);
        c.emit({ op: "store" }, undefined, value, memory(c, s.at, s.offset));
        return;
      }
      const value = lowerVector(c, s.value);
      const bits = type === "f32" ? 32 : bitsOf(type);
      c.emit({ op: "vectorStore", bits }, undefined, value, memory(c, s.at, s.offset));
      return;
    }
    case "storeBytes":
      storeBytes(c, s.value, s.at, s.offset);
      return;
    case "prefetch":
      c.emit({ op: "prefetch", cache: s.cache }, undefined, memory(c, s.at, s.offset));
      return;
    case "zero":
      fill(c, s.at, undefined, s.bytes);
      return;
    case "copy":
      fill(c, s.to, s.from, s.bytes);
      return;
    case "for":
      lowerFor(c, s);
      return;
    case "if": {
      const [otherwise, end] = [c.label(), c.label()];
      branchUnless(c, s.condition, otherwise);
      lowerStatements(c, s.then);
      if (s.otherwise.length > 0) {
        c.emit({ op: "jump", label: end }, undefined);
        c.mark(otherwise);
        lowerStatements(c, s.otherwise);
      } else c.mark(otherwise);
      c.mark(end);
      return;
    }
    case "tile":
      lowerTile(c, s.tile, s.action);
      return;
    default:
      s satisfies never;
  }
}

function lowerSet(c: Output, local: Expr & { kind: "local" }, value: Expr): void {
  const to = c.local(local.index);
  if (local.type !== "ptr" && local.type !== "i32") {
    lowerVector(c, value, to);
    return;
  }
  if (local.type === "ptr" && c.isSetOnce(local.index)) {
    const { base, disp, index } = addressParts(c, value as Pointer, 0);
    if (index === undefined && base.kind === "local" && c.isSetOnce(base.index)) {
      // No code: those who use the local use the base.
      c.aliases.set(
        local.index,
        disp === 0 ? base : {
          ...{ kind: "offset", type: "ptr", base },
          bytes: { kind: "const", type: "i32", value: disp },
        } as Pointer,
      );
      return;
    }
  }
  integer(c, value, to);
}

function lowerTile(c: Output, tile: number, action: TileAction): void {
  c.useTiles();
  if (action.op === "zero" || action.op === "product") {
    return c.emit({ op: "tile", tile, action }, undefined);
  }
  const { base, disp } = held(c, offset(action.at, action.offset));
  const index = constantRegister(c, action.stride);
  const place: MemoryOperand = { base, index, scale: 1, disp };
  c.emit({ op: "tile", tile, action: { op: action.op } }, undefined, place);
}

/** Jumps to a label where a condition does not hold. */
function branchUnless(c: Output, condition: Index, label: number): void {
  const { x, y, test } = comparison(c, condition);
  c.emit({ op: "branch", condition: OPPOSITE[test], label }, undefined, x, y);
}

function lowerFor(c: Output, s: Loop): void {
  const { begin, end, step } = s;
  const counter = c.local(s.counter.index);
  const known = begin.kind === "const" && end.kind === "const"
    ? Math.max(0, Math.ceil((end.value - begin.value) / step))
    : undefined;
  if (known === 0) return;
  if (known === 1) {
    integer(c, begin, counter);
    lowerStatements(c, s.body);
    return;
  }
  const [first, last, skip] = [c.label(), c.label(), c.label()];
  let limit = integerOperand(c, end);
  if (typeof limit === "number" && (end.kind !== "local" || setIn([s]).includes(end.index))) {
    const held = c.register("integer");
    c.emit({ op: "move" }, held, limit);
    limit = held;
  }
  integer(c, begin, counter);
  if (known === undefined) {
    c.emit({ op: "branch", condition: "ge", label: skip }, undefined, counter, limit);
  }
  c.loop(setIn([s]), () => {
    c.mark(first);
    lowerStatements(c, s.body);
    c.emit({ op: "integer", fn: "add" }, counter, counter, { immediate: step });
    c.emit({ op: "branch", condition: "lt", label: first }, undefined, counter, limit);
    c.mark(last);
  });
  c.mark(skip);
  c.markLoop(first, last);
}

/** Writes zeros or copies, by the widest vectors and by four bytes at the end. */
function fill(c: Output, to: Pointer, from: Pointer | undefined, bytes: Index): void {
  const bits: Bits = c.evex ? 512 : 256;
  const size = bits / 8;
  const [target, source] = [to, from].map((at) => at === undefined ? undefined : held(c, at));
  const value = c.register("vector");
  if (source === undefined) c.emit({ op: "zero" }, value);
  const move = (bits: Bits | 32, place: Omit<MemoryOperand, "base">) => {
    if (source !== undefined) {
      const name = bits === 32 ? "loadScalar" : "load";
      const from = { ...place, base: source.base, disp: place.disp + source.disp };
      c.emit({ op: "vector", name, bits: bits === 32 ? 128 : bits }, value, from);
    }
    const at = { ...place, base: target!.base, disp: place.disp + target!.disp };
    c.emit({ op: "vectorStore", bits }, undefined, value, at);
  };
  if (bytes.kind === "const" && bytes.value <= 8 * size) {
    let at = 0;
    for (const [width, step] of [[bits, size], [128, 16], [32, 4]] as const) {
      for (; at + step <= bytes.value; at += step) move(width, { scale: 1, disp: at });
    }
    return;
  }
  const count = integerOperand(c, bytes);
  const place = c.register("integer");
  c.emit({ op: "move" }, place, { immediate: 0 });
  for (const [width, step] of [[bits, size], [32, 4]] as const) {
    const end = c.register("integer");
    if (typeof count === "number") {
      c.emit({ op: "integer", fn: "and" }, end, count, { immediate: -step });
    } else {
      const { immediate } = count as Immediate;
      c.emit({ op: "move" }, end, { immediate: immediate - immediate % step });
    }
    const [again, done, after] = [c.label(), c.label(), c.label()];
    c.emit({ op: "branch", condition: "ge", label: after }, undefined, place, end);
    c.mark(again);
    move(width, { index: place, scale: 1, disp: 0 });
    c.emit({ op: "integer", fn: "add" }, place, place, { immediate: step });
    c.emit({ op: "branch", condition: "lt", label: again }, undefined, place, end);
    c.mark(done);
    c.mark(after);
    c.markLoop(again, done);
  }
}

/** An address without an index. */
function held(c: Output, at: Pointer): { base: Register; disp: number } {
  const whole = memory(c, at, 0);
  if (whole.index === undefined) return { base: whole.base, disp: whole.disp };
  const base = c.register("integer");
  c.emit({ op: "address" }, base, whole);
  return { base, disp: 0 };
}
