/** Encodes instructions on integers. */

import type { Place } from "./encoding.ts";
import type { Instruction, Operand, Register } from "./linear.ts";
import { OPPOSITE } from "./lowering_integers.ts";
import { SPECIAL_OPCODES as special } from "./opcodes.ts";
import type { Places } from "./places.ts";

/** Compares two integers for the jump or the choice that follows. */
export function compare(p: Places, x: Operand, y: Operand): void {
  const left = p.integer(x, 0);
  if (typeof y === "number") p.asm.alu("cmp", left, p.place(y));
  else p.asm.aluConstant("cmp", left, (y as { immediate: number }).immediate);
}

/** An instruction that gives an integer. */
export function integerResult(p: Places, each: Instruction): void {
  const { asm } = p;
  const { from } = each;
  // The second free register, so that operands in the first one are still there.
  const { at: to, done } = p.result(each.to!, 1);
  switch (each.op) {
    case "move":
      if (typeof from[0] === "number") asm.move(to, p.place(from[0]));
      else asm.set(to, (from[0] as { immediate: number }).immediate);
      break;
    case "load":
      asm.signExtend(to, p.memory(from[0]));
      break;
    case "address":
      asm.address(to, p.memory(from[0]));
      break;
    case "integer":
      arithmetic(p, each.fn, to, from[0], from[1]);
      break;
    case "shift":
      asm.move(to, p.place(from[0] as Register));
      asm.shift(to, "right", each.count);
      break;
    case "flag":
      compare(p, from[0], from[1]);
      asm.flag(to, each.condition);
      break;
    case "flagReal": {
      // a < b is b above a, which does not hold for NaN.
      const [a, b] = each.fn === "lt" ? [from[1], from[0]] : [from[0], from[1]];
      const [x, y] = [p.vector(a, 0, 128), p.vector(b, 1, 128)];
      asm.vector(special.compareScalar, x, 0, y, { bits: 128 });
      asm.flag(to, each.fn === "lt" ? "above" : "eq");
      if (each.fn === "eq") {
        // A NaN compares as equal, and as unordered.
        const end = p.label();
        asm.jumpIf("noParity", end);
        asm.set(to, 0);
        asm.label(end);
      }
      break;
    }
    case "choose": {
      compare(p, from[0], from[1]);
      const [a, b] = [from[2], from[3]].map((x) => p.place(x as Register));
      if (to === a) asm.moveIf(OPPOSITE[each.condition as keyof typeof OPPOSITE], to, b);
      else {
        asm.move(to, b);
        asm.moveIf(each.condition, to, a);
      }
      break;
    }
    case "toInteger":
      asm.vector(special.toInteger, to, 0, p.vector(from[0], 0, 128), { bits: 128 });
      break;
    default:
      throw new Error(`x64: ${each.op} gives no integer`);
  }
  done();
}

function arithmetic(
  p: Places,
  fn: "add" | "sub" | "and" | "mul",
  to: number,
  a: Operand,
  b: Operand,
): void {
  const { asm } = p;
  const x = p.place(a as Register);
  if (typeof b !== "number") {
    const value = (b as { immediate: number }).immediate;
    if (fn === "mul") {
      const log = Math.log2(value);
      if (Number.isInteger(log)) {
        asm.move(to, x);
        asm.shift(to, "left", log);
      } else asm.multiplyConstant(to, x, value);
    } else if (fn === "add" && typeof x === "number" && x !== to) {
      asm.address(to, { base: x, scale: 1, disp: value });
    } else {
      asm.move(to, x);
      asm.aluConstant(fn, to, value);
    }
    return;
  }
  const y = p.place(b);
  const apply = (other: Place) => fn === "mul" ? asm.multiply(to, other) : asm.alu(fn, to, other);
  if (y !== to) {
    if (fn === "add" && typeof x === "number" && typeof y === "number" && x !== to) {
      return asm.address(to, { base: x, index: y, scale: 1, disp: 0 });
    }
    asm.move(to, x);
    return apply(y);
  }
  if (fn !== "sub") return apply(x);
  asm.negate(to);
  asm.alu("add", to, x);
}
