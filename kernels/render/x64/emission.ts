/** The bytes of a lowered kernel: a function of System V's calling convention. */

import { allocate, type Allocation } from "./allocation.ts";
import { type Address, Assembler, type Bits, type Place } from "./encoding.ts";
import type { Instruction, LinearCode, Operand, Register } from "./linear.ts";
import { OPPOSITE } from "./lowering_integers.ts";
import { SPECIAL_OPCODES as special, VECTOR_OPCODES } from "./opcodes.ts";

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7];
const SAVED = [RBX, RBP, 12, 13, 14, 15];
/** The first ones are shortest to encode. */
const INTEGERS = [RAX, RCX, RDX, RBX, RSI, RDI, 8, 9, 10, 11, RBP, 12, 13, 14, 15];

/** How well a kernel fitted into the registers. */
export interface EmittedCode {
  readonly code: Uint8Array<ArrayBuffer>;
  /** Vectors, and integers and pointers, that lie on the stack. */
  readonly spilled: { readonly vectors: number; readonly integers: number };
}

/** With registers kept free to work on what lies on the stack, where something does. */
function allocateWithRoom(
  code: LinearCode,
  kind: "integer" | "vector",
  machine: readonly number[],
): Allocation & { readonly room: readonly number[] } {
  const whole = allocate(code, kind, machine);
  if (whole.spilled === 0) return { ...whole, room: [] };
  return { ...allocate(code, kind, machine.slice(0, -2)), room: machine.slice(-2) };
}

class Emitter {
  readonly asm = new Assembler();
  readonly #code: LinearCode;
  readonly #evex: boolean;
  readonly #integers: ReturnType<typeof allocateWithRoom>;
  readonly #vectors: ReturnType<typeof allocateWithRoom>;
  #labels = -1;

  constructor(code: LinearCode, evex: boolean) {
    this.#code = code;
    this.#evex = evex;
    this.#integers = allocateWithRoom(code, "integer", INTEGERS);
    const vectors = Array.from({ length: evex ? 32 : 16 }, (_, i) => i);
    this.#vectors = allocateWithRoom(code, "vector", vectors);
  }

  get spilled() {
    return { vectors: this.#vectors.spilled, integers: this.#integers.spilled };
  }

  /**
   * The function takes two addresses: of arguments of 64 bits, and of the first item and the one
   * after the last, 32 bits each. It gives 0.
   */
  run(): void {
    const { asm } = this;
    const frame = this.#frame;
    for (const register of SAVED) asm.push(register);
    asm.move(RAX, RSP);
    asm.aluConstant("sub", RSP, frame);
    asm.aluConstant("and", RSP, -64);
    asm.store({ base: RSP, scale: 1, disp: frame - 8 }, RAX);
    this.#loadParameters();
    const loops = new Set(this.#code.loops.map(({ begin }) => begin));
    this.#code.instructions.forEach((each, i) => {
      if (loops.has(i)) asm.align(16);
      this.#instruction(each);
    });
    asm.move(RSP, { base: RSP, scale: 1, disp: frame - 8 });
    for (const register of SAVED.toReversed()) asm.pop(register);
    asm.alu("sub", RAX, RAX);
    asm.zeroUpper();
    asm.return();
  }

  #loadParameters(): void {
    const { asm } = this;
    const { parameters } = this.#code;
    const from = parameters.map((_, i): Address => {
      const ofRange = i - (parameters.length - 2);
      return ofRange < 0
        ? { base: RDI, scale: 1, disp: 8 * i }
        : { base: RSI, scale: 1, disp: 4 * ofRange };
    });
    const places = parameters.map((register) => this.#integers.places[register]);
    const ofAddress = places.flatMap((place, i) => place === RDI || place === RSI ? [i] : []);
    const saved = (register: number) => this.#saved(register === RDI ? 0 : 1);
    const take = (to: number, at: Address, of = at.base) =>
      of === RDI ? asm.move(to, at) : asm.signExtend(to, at);
    for (const register of [RDI, RSI]) asm.store(saved(register), register);
    parameters.forEach((_, i) => {
      if (places[i] >= 0) return;
      take(RAX, from[i]);
      asm.store(this.#integerSlot(places[i]), RAX);
    });
    parameters.forEach((_, i) => {
      if (places[i] >= 0 && !ofAddress.includes(i)) take(places[i], from[i]);
    });
    for (const i of ofAddress) {
      asm.move(places[i], saved(from[i].base));
      take(places[i], { ...from[i], base: places[i] }, from[i].base);
    }
  }

  // Places.

  /** Bytes of the stack: vectors, integers, two saved addresses and the stack's old end. */
  get #frame(): number {
    const bytes = 64 * this.#vectors.spilled + 8 * (this.#integers.spilled + 3);
    return Math.ceil(bytes / 64) * 64;
  }
  #saved(index: 0 | 1): Address {
    return { base: RSP, scale: 1, disp: this.#frame - 24 + 8 * index };
  }

  #integerSlot(place: number): Address {
    return { base: RSP, scale: 1, disp: 64 * this.#vectors.spilled + 8 * (-1 - place) };
  }
  #vectorSlot(place: number): Address {
    return { base: RSP, scale: 1, disp: 64 * (-1 - place) };
  }
  #place(register: Register): Place {
    const isInteger = this.#code.kinds[register] === "integer";
    const place = (isInteger ? this.#integers : this.#vectors).places[register];
    if (place >= 0) return place;
    return isInteger ? this.#integerSlot(place) : this.#vectorSlot(place);
  }

  /** An integer in a machine register; one on the stack comes into the free one of a number. */
  #integer(operand: Operand, room: number): number {
    const place = this.#place(operand as Register);
    if (typeof place === "number") return place;
    this.asm.move(this.#integers.room[room], place);
    return this.#integers.room[room];
  }

  /** A vector in a machine register. */
  #vector(operand: Operand, room: number, bits: Bits): number {
    const place = this.#place(operand as Register);
    if (typeof place === "number") return place;
    const held = this.#vectors.room[room];
    this.asm.vector(VECTOR_OPCODES.load, held, 0, place, { bits });
    return held;
  }

  /** Memory by machine registers; both free ones may be used, the second is free again after. */
  #memory(operand: Operand): Address {
    const { base, index, scale, disp } = operand as Address;
    const first = this.#integer(base, 0);
    if (index === undefined) return { base: first, scale, disp };
    const second = this.#integer(index, 1);
    const room = this.#integers.room;
    if (first !== room[0] || second !== room[1]) return { base: first, index: second, scale, disp };
    this.asm.address(first, { base: first, index: second, scale, disp });
    return { base: first, scale: 1, disp: 0 };
  }

  /** Where a result is computed, and what brings it to the stack if that is its place. */
  #result(register: Register, room = 0): { at: number; done: () => void } {
    const place = this.#place(register);
    if (typeof place === "number") return { at: place, done: () => {} };
    if (this.#code.kinds[register] === "integer") {
      const at = this.#integers.room[room];
      return { at, done: () => this.asm.store(place as Address, at) };
    }
    const at = this.#vectors.room[room];
    const bits: Bits = this.#evex ? 512 : 256;
    return { at, done: () => this.asm.vector(special.store, at, 0, place, { bits }) };
  }

  /** The last operand of a vector instruction. */
  #source(operand: Operand): { place: Place; broadcast?: boolean } {
    if (typeof operand === "number") return { place: this.#place(operand) };
    if ("constant" in operand) {
      return { place: { constant: operand.constant }, broadcast: operand.broadcast };
    }
    if ("immediate" in operand) throw new Error("x64: a number as a vector");
    return { place: this.#memory(operand), broadcast: operand.broadcast };
  }

  // Instructions.

  #instruction(each: Instruction): void {
    const { asm } = this;
    const { from } = each;
    switch (each.op) {
      case "label":
        asm.label(each.label);
        return;
      case "jump":
        asm.jump(each.label);
        return;
      case "branch":
        this.#compare(from[0], from[1]);
        asm.jumpIf(each.condition, each.label);
        return;
      case "store": {
        let at = this.#memory(from[1]);
        if (at.index !== undefined && at.index === this.#integers.room[1]) {
          // The value needs the register.
          asm.address(this.#integers.room[0], at);
          at = { base: this.#integers.room[0], scale: 1, disp: 0 };
        }
        const value = this.#integer(from[0], 1);
        asm.store(at, value, 32);
        return;
      }
      case "vectorStore": {
        const bits = each.bits === 32 ? 128 : each.bits;
        const value = this.#vector(from[0], 0, bits);
        const op = each.bits === 32 ? special.storeScalar : special.store;
        asm.vector(op, value, 0, this.#memory(from[1]), { bits });
        return;
      }
      case "vector":
      case "fma":
      case "zero":
      case "laneMask":
      case "laneChoose":
      case "laneSelect":
      case "permute":
      case "toReal":
        this.#vectorResult(each);
        return;
      case "choose":
        if (each.of === "vector") this.#chooseReal(each);
        else this.#integerResult(each);
        return;
      default:
        this.#integerResult(each);
    }
  }

  #compare(x: Operand, y: Operand): void {
    const left = this.#integer(x, 0);
    if (typeof y === "number") this.asm.alu("cmp", left, this.#place(y));
    else this.asm.aluConstant("cmp", left, (y as { immediate: number }).immediate);
  }

  #integerResult(each: Instruction): void {
    const { asm } = this;
    const { from } = each;
    // The second free register, so that operands in the first one are still there.
    const { at: to, done } = this.#result(each.to!, 1);
    switch (each.op) {
      case "move":
        if (typeof from[0] === "number") asm.move(to, this.#place(from[0]));
        else asm.set(to, (from[0] as { immediate: number }).immediate);
        break;
      case "load":
        asm.signExtend(to, this.#memory(from[0]));
        break;
      case "address":
        asm.address(to, this.#memory(from[0]));
        break;
      case "integer":
        this.#arithmetic(each.fn, to, from[0], from[1]);
        break;
      case "shift":
        asm.move(to, this.#place(from[0] as Register));
        asm.shift(to, "right", each.count);
        break;
      case "flag":
        this.#compare(from[0], from[1]);
        asm.flag(to, each.condition);
        break;
      case "flagReal": {
        // a < b is b above a, which does not hold for NaN.
        const [a, b] = each.fn === "lt" ? [from[1], from[0]] : [from[0], from[1]];
        const [x, y] = [this.#vector(a, 0, 128), this.#vector(b, 1, 128)];
        asm.vector(special.compareScalar, x, 0, y, { bits: 128 });
        asm.flag(to, each.fn === "lt" ? "above" : "eq");
        if (each.fn === "eq") {
          // A NaN compares as equal, and as unordered.
          const end = this.#labels--;
          asm.jumpIf("noParity", end);
          asm.set(to, 0);
          asm.label(end);
        }
        break;
      }
      case "choose": {
        this.#compare(from[0], from[1]);
        const [a, b] = [from[2], from[3]].map((x) => this.#place(x as Register));
        if (to === a) asm.moveIf(OPPOSITE[each.condition as keyof typeof OPPOSITE], to, b);
        else {
          asm.move(to, b);
          asm.moveIf(each.condition, to, a);
        }
        break;
      }
      case "toInteger":
        asm.vector(special.toInteger, to, 0, this.#vector(from[0], 0, 128), { bits: 128 });
        break;
      default:
        throw new Error(`x64: ${each.op} gives no integer`);
    }
    done();
  }

  #arithmetic(fn: "add" | "sub" | "and" | "mul", to: number, a: Operand, b: Operand): void {
    const { asm } = this;
    const x = this.#place(a as Register);
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
    const y = this.#place(b);
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

  #chooseReal(each: Instruction): void {
    const { asm } = this;
    if (each.op !== "choose") return;
    const { at: to, done } = this.#result(each.to!);
    const [a, b] = [each.from[2], each.from[3]].map((x) => this.#place(x as Register));
    const put = (place: Place) => {
      if (place === to) return;
      const op = typeof place === "number" ? VECTOR_OPCODES.move : VECTOR_OPCODES.load;
      asm.vector(op, to, 0, place, { bits: 128 });
    };
    this.#compare(each.from[0], each.from[1]);
    const end = this.#labels--;
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

  #vectorResult(each: Instruction): void {
    const { asm } = this;
    const { from } = each;
    const { at: to, done } = this.#result(each.to!);
    switch (each.op) {
      case "zero":
        asm.vector(VECTOR_OPCODES.xor, to, to, to, { bits: 128 });
        break;
      case "toReal":
        asm.vector(VECTOR_OPCODES.xor, to, to, to, { bits: 128 });
        asm.vector(special.fromInteger, to, to, this.#integer(from[0], 0), { bits: 128 });
        break;
      case "vector":
        this.#plain(each, to);
        break;
      case "fma":
        this.#fma(each, to);
        break;
      case "permute": {
        const [table, a] = [
          this.#vector(from[0], 0, each.bits),
          this.#vector(from[1], 1, each.bits),
        ];
        const { place } = this.#source(from[2]);
        asm.vector(VECTOR_OPCODES.move, to, 0, table, { bits: each.bits });
        asm.vector(special.permuteTables, to, a, place, { bits: each.bits });
        break;
      }
      case "laneMask":
      case "laneChoose":
      case "laneSelect":
        this.#lanes(each, to);
        break;
      default:
        throw new Error(`x64: ${each.op} gives no vector`);
    }
    done();
  }

  #plain(each: Instruction & { op: "vector" }, to: number): void {
    const { asm } = this;
    const { name, bits, immediate, from } = each;
    if (name === "move") {
      const { place } = this.#source(from[0]);
      if (place === to) return;
      const op = typeof place === "number" ? VECTOR_OPCODES.move : VECTOR_OPCODES.load;
      return asm.vector(op, to, 0, place, { bits });
    }
    if (name === "shiftLeft" || name === "shiftRight") {
      const x = this.#vector(from[0], 0, bits);
      return asm.vector(special.shift, name === "shiftLeft" ? 6 : 4, to, x, { bits, immediate });
    }
    if (name === "upperHalf") {
      const x = this.#vector(from[0], 0, bits);
      const op = bits === 512 ? special.upper256 : special.upper128;
      return asm.vector(op, x, 0, to, { bits, immediate: 1 });
    }
    const op = VECTOR_OPCODES[name];
    if (from.length === 1) {
      const { place, broadcast } = this.#source(from[0]);
      // A broadcast of a whole instruction's only operand is the instruction itself.
      const whole = name === "splat" ? undefined : broadcast;
      return asm.vector(op, to, 0, place, { bits, immediate, broadcast: whole });
    }
    const x = this.#vector(from[0], 0, bits);
    const { place, broadcast } = this.#source(from[1]);
    asm.vector(op, to, x, place, { bits, immediate, broadcast });
  }

  /** a·b + c, in the form whose destination is where one of them already is. */
  #fma({ bits, from }: Instruction & { op: "fma" }, to: number): void {
    const { asm } = this;
    const a = this.#place(from[0] as Register);
    const b = this.#source(from[1]);
    const c = this.#source(from[2]);
    const room = this.#vectors.room[1];
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

  #lanes(each: Instruction & { op: "laneMask" | "laneChoose" | "laneSelect" }, to: number): void {
    const { asm } = this;
    const { bits, from } = each;
    if (each.op === "laneSelect") {
      const mask = this.#vector(from[0], 1, bits);
      if (this.#evex) {
        asm.vector(special.lanesToMask, 1, 0, mask, { bits });
        this.#blend(to, from[1], from[2], bits);
        return;
      }
      const [b, { place }] = [this.#vector(from[2], 0, bits), this.#source(from[1])];
      asm.vector(special.blendLanes, to, b, place, { bits, immediate: mask << 4 });
      return;
    }
    const x = this.#vector(from[0], 0, bits);
    const { place, broadcast } = this.#source(from[1]);
    const immediate = each.fn === "lt" ? 1 : 0;
    if (!this.#evex) {
      if (each.op === "laneChoose") throw new Error("x64: a choice by lanes without AVX-512");
      asm.vector(special.compare, to, x, place, { bits, immediate });
      return;
    }
    asm.vector(special.compare, 1, x, place, { bits, immediate, broadcast, evex: true });
    if (each.op === "laneChoose") this.#blend(to, from[2], from[3], bits);
    else asm.vector(special.maskToLanes, to, 0, 1, { bits });
  }

  /** Lanes of a where the mask register is set, else of b. */
  #blend(to: number, a: Operand, b: Operand, bits: Bits): void {
    const second = this.#vector(b, 0, bits);
    const { place } = this.#source(a);
    this.asm.vector(special.blendMask, to, second, place, { bits, mask: 1 });
  }
}

/** Allocates registers and encodes. */
export function emit(code: LinearCode, evex: boolean): EmittedCode {
  const emitter = new Emitter(code, evex);
  emitter.run();
  return { code: emitter.asm.finish(code.constants), spilled: emitter.spilled };
}
