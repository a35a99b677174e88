/** The code of statements. */

import type { Expr, Statement } from "../../language/syntax.ts";
import { EXP2_SHIFT, LOWEST_QUANT } from "../bits.ts";
import { eachLoopExpression } from "../walk.ts";
import { signed, simd, unsigned } from "./encoding.ts";
import { writeAddress, writeBytes, writeValue } from "./expressions.ts";
import { F16_BIAS } from "./loads.ts";
import { atPlace, type Output, quads } from "./output.ts";
import { setPair, storePair } from "./pairs.ts";

/**
 * V8 builds a vector constant anew, by three instructions, wherever one is written; a local that
 * is set once stays in a register or on the stack. So those that loops use become locals.
 */
function holdConstants(o: Output, body: readonly Statement[]): void {
  eachLoopExpression(body, false, (e) => {
    if (e.kind === "const" && (e.type === "f32x4" || e.type === "f32x8") && e.value !== 0) {
      o.hold(e.value);
    }
    if (e.kind === "unary" && e.op === "bits_to_f32") o.hold(EXP2_SHIFT);
    if (e.kind === "load" && e.as === "f16") o.hold(F16_BIAS);
    if (e.kind === "unary" && (e.op === "low4" || e.op === "high4")) o.hold(LOWEST_QUANT);
  });
}

/** Writes all of a kernel. */
export function writeBody(o: Output, body: readonly Statement[]): void {
  holdConstants(o, body);
  writeStatements(o, body);
}

function writeStatements(o: Output, list: readonly Statement[]): void {
  for (const statement of list) writeStatement(o, statement);
}

function writeStatement(o: Output, s: Statement): void {
  switch (s.kind) {
    case "set":
      if (quads(s.value.type) === 2) return setPair(o, s);
      writeValue(o, s.value);
      return o.set(o.place(s.local));
    case "store":
      return writeStore(o, s);
    case "storeBytes":
      return writeStoreBytes(o, s);
    case "prefetch":
      return;
    case "zero":
      writeValue(o, s.at);
      o.emit(0x41, 0x00);
      writeBytes(o, s.bytes);
      return o.emit(0xfc, 0x0b, 0x00);
    case "copy":
      writeValue(o, s.to);
      writeValue(o, s.from);
      writeBytes(o, s.bytes);
      return o.emit(0xfc, 0x0a, 0x00, 0x00);
    case "for":
      return writeFor(o, s);
    case "if":
      writeValue(o, s.condition);
      o.emit(0x04, 0x40);
      writeStatements(o, s.then);
      if (s.otherwise.length > 0) {
        o.emit(0x05);
        writeStatements(o, s.otherwise);
      }
      return o.emit(0x0b);
    case "tile":
      throw new Error("wasm: there are no tiles");
    default:
      s satisfies never;
  }
}

function writeStore(o: Output, s: Statement & { kind: "store" }): void {
  const { type } = s.value;
  if (quads(type) === 2) return storePair(o, s);
  const at = unsigned(writeAddress(o, s.at, s.offset));
  writeValue(o, s.value);
  if (type === "f32x4") o.emit(...simd(0x0b), 4, ...at);
  else o.emit(type === "f32" ? 0x38 : 0x36, 2, ...at);
}

/** Narrows lanes twice, with themselves as the other half. */
function writeStoreBytes(o: Output, s: Statement & { kind: "storeBytes" }): void {
  for (let quad = 0; quad < quads(s.value.type); quad++) {
    const held = o.scratch("f32x4");
    const at = unsigned(writeAddress(o, s.at, s.offset + 4 * quad));
    writeValue(o, s.value, quad as 0 | 1);
    for (const code of [0xf8, 0x85, 0x65]) {
      if (code !== 0xf8) {
        o.tee(held);
        o.get(held);
      }
      o.emit(...simd(code));
    }
    o.emit(...simd(0x5a), 2, ...at, 0);
  }
}

function writeFor(o: Output, s: Statement & { kind: "for" }): void {
  const counter = o.place(s.counter);
  writeValue(o, s.begin);
  o.set(counter);
  let end: Expr<"i32"> = s.end;
  if (end.kind !== "const" && end.kind !== "local") {
    const held = o.scratch("i32");
    writeValue(o, end);
    o.set(held);
    end = atPlace("i32", held);
  }
  const runs = s.begin.kind === "const" && end.kind === "const"
    ? s.begin.value < end.value
    : undefined;
  if (runs === false) return;
  if (runs === undefined) {
    o.get(counter);
    writeValue(o, end);
    o.emit(0x48, 0x04, 0x40); // if counter < end
  }
  o.emit(0x03, 0x40); // loop
  writeStatements(o, s.body);
  o.get(counter);
  o.emit(0x41, ...signed(s.step), 0x6a);
  o.tee(counter);
  writeValue(o, end);
  o.emit(0x48, 0x0d, 0x00, 0x0b); // br_if while counter < end
  if (runs === undefined) o.emit(0x0b);
}
