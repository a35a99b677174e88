/** Encodes instructions on vectors. */

import type { Bits, Place } from "./encoding.ts";
import { compare } from "./emission_integers.ts";
import type { Instruction, Operand, Register } from "./linear.ts";
import { OPPOSITE } from "./lowering_integers.ts";
import { SHIFT_DIGITS, SPECIAL_OPCODES as special, VECTOR_OPCODES } from "./opcodes.ts";
import type { Places } from "./places.ts";

/** An instruction that gives a vector. */
export function vectorResult(p: Places, each: Instruction): void {
  const { asm } = p;
  const { from } = each;
  const { at: to, done } = p.result(each.to!);
  switch (each.op) {
    case "zero":
      asm.vector(VECTOR_OPCODES.xor, to, to, to, { bits: 128 });
      break;
    case "toReal":
      asm.vector(VECTOR_OPCODES.xor, to, to, to, { bits: 128 });
      asm.vector(special.fromInteger, to, to, p.integer(from[0], 0), { bits: 128 });
      break;
    case "vector":
      plain(p, each, to);
      break;
    case "fma":
      fma(p, each, to);
      break;
    case "permute":
    case "dot": {
      const [first, a] = [
        p.vector(from[0], 0, each.bits),
        p.vector(from[1], 1, each.bits),
      ];
      const { place } = p.source(from[2]);
      if (first !== to) asm.vector(VECTOR_OPCODES.move, to, 0, first, { bits: each.bits });
      const op = each.op === "dot" ? special.dotBytes : special.permuteTables;
      asm.vector(op, to, a, place, { bits: each.bits });
      break;
    }
    case "laneMask":
    case "laneChoose":
    case "laneSelect":
      lanes(p, each, to);
      break;
    default:
      throw new Error(`x64: ${each.op} gives no vector`);
  }
  done();
}

function plain(p: Places, each: Instruction & { op: "vector" }, to: number): void {
  const { asm } = p;
  const { name, bits, immediate, from } = each;
  if (name === "move") {
    const { place } = p.source(from[0]);
    if (place === to) return;
    const op = typeof place === "number" ? VECTOR_OPCODES.move : VECTOR_OPCODES.load;
    return asm.vector(op, to, 0, place, { bits });
  }
  if (name === "shiftLeft" || name === "shiftRight" || name === "shiftRightUnsigned") {
    const x = p.vector(from[0], 0, bits);
    return asm.vector(special.shift, SHIFT_DIGITS[name], to, x, { bits, immediate });
  }
  if (name === "upperHalf") {
    const x = p.vector(from[0], 0, bits);
    const op = bits === 512 ? special.upper256 : special.upper128;
    return asm.vector(op, x, 0, to, { bits, immediate: 1 });
  }
  const op = VECTOR_OPCODES[name];
  if (from.length === 1) {
    const { place, broadcast } = p.source(from[0]);
    // A broadcast of a whole instruction's only operand is the instruction itself.
    const whole = name === "splat" ? undefined : broadcast;
    return asm.vector(op, to, 0, place, { bits, immediate, broadcast: whole });
  }
  const x = p.vector(from[0], 0, bits);
  const { place, broadcast } = p.source(from[1]);
  asm.vector(op, to, x, place, { bits, immediate, broadcast });
}

/** a·b + c, in the form whose destination is where one of them already is. */
function fma(p: Places, { bits, from }: Instruction & { op: "fma" }, to: number): void {
  const { asm } = p;
  const a = p.place(from[0] as Register);
  const b = p.source(from[1]);
  const c = p.source(from[2]);
  const room = p.vectors.room[1];
  const use = (x: { broadcast?: boolean }) => ({ bits, broadcast: x.broadcast });
  const put = (at: number, x: { place: Place; broadcast?: boolean }): number => {
    if (x.place === at) return at;
    if (x.broadcast) asm.vector(VECTOR_OPCODES.splat, at, 0, x.place, { bits });
    else {
      const op = typeof x.place === "number" ? VECTOR_OPCODES.move : VECTOR_OPCODES.load;
      asm.vector(op, at, 0, x.place, { bits });
    }
    return at;
  };
  const inRegister = (x: { place: Place; broadcast?: boolean }) =>
    typeof x.place === "number" ? x.place : put(room, x);
  if (c.place === to) {
    asm.vector(special.fma231, to, inRegister({ place: a }), b.place, use(b));
  } else if (b.place === to) {
    asm.vector(special.fma213, to, inRegister({ place: a }), c.place, use(c));
  } else if (a === to) {
    if (typeof c.place === "number") asm.vector(special.fma132, to, c.place, b.place, use(b));
    else asm.vector(special.fma213, to, inRegister(b), c.place, use(c));
  } else if (typeof c.place !== "number" && typeof b.place === "number") {
    put(to, { place: a });
    asm.vector(special.fma213, to, b.place, c.place, use(c));
  } else {
    put(to, c);
    asm.vector(special.fma231, to, inRegister({ place: a }), b.place, use(b));
  }
}

function lanes(
  p: Places,
  each: Instruction & { op: "laneMask" | "laneChoose" | "laneSelect" },
  to: number,
): void {
  const { asm } = p;
  const { bits, from } = each;
  if (each.op === "laneSelect") {
    const mask = p.vector(from[0], 1, bits);
    if (p.evex) {
      asm.vector(special.lanesToMask, 1, 0, mask, { bits });
      blend(p, to, from[1], from[2], bits);
      return;
    }
    const [b, { place }] = [p.vector(from[2], 0, bits), p.source(from[1])];
    asm.vector(special.blendLanes, to, b, place, { bits, immediate: mask << 4 });
    return;
  }
  const x = p.vector(from[0], 0, bits);
  const { place, broadcast } = p.source(from[1]);
  const immediate = each.fn === "lt" ? 1 : 0;
  if (!p.evex) {
    if (each.op === "laneChoose") throw new Error("x64: a choice by lanes without AVX-512");
    asm.vector(special.compare, to, x, place, { bits, immediate });
    return;
  }
  asm.vector(special.compare, 1, x, place, { bits, immediate, broadcast, evex: true });
  if (each.op === "laneChoose") blend(p, to, from[2], from[3], bits);
  else asm.vector(special.maskToLanes, to, 0, 1, { bits });
}

/** Lanes of a where the mask register is set, else of b. */
function blend(p: Places, to: number, a: Operand, b: Operand, bits: Bits): void {
  const second = p.vector(b, 0, bits);
  const { place } = p.source(a);
  p.asm.vector(special.blendMask, to, second, place, { bits, mask: 1 });
}
/** One f32 or another, by a comparison of integers. */
export function chooseReal(p: Places, each: Instruction): void {
  const { asm } = p;
  if (each.op !== "choose") return;
  const { at: to, done } = p.result(each.to!);
  const [a, b] = [each.from[2], each.from[3]].map((x) => p.place(x as Register));
  const put = (place: Place) => {
    if (place === to) return;
    const op = typeof place === "number" ? VECTOR_OPCODES.move : VECTOR_OPCODES.load;
    asm.vector(op, to, 0, place, { bits: 128 });
  };
  compare(p, each.from[0], each.from[1]);
  const end = p.label();
  if (to === b) {
    asm.jumpIf(OPPOSITE[each.condition as keyof typeof OPPOSITE], end);
    put(a);
  } else {
    put(a);
    asm.jumpIf(each.condition, end);
    put(b);
  }
  asm.label(end);
  done();
}
