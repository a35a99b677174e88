/**
 * x86-64's binary encoding: integer instructions, and vector instructions in the VEX form where it
 * reaches and in the EVEX form of AVX-512 where it does not (Intel's manual, volume 2).
 */

import type { Cache } from "../../language/syntax.ts";
import type { VectorOpcode } from "./opcodes.ts";

/** What a memory operand is: base + index·scale + disp, by register numbers. */
export interface Address {
  readonly base: number;
  readonly index?: number;
  readonly scale: 1 | 2 | 4 | 8;
  readonly disp: number;
}

/** A place in the constants behind the code. */
export interface Constant {
  readonly constant: number;
}

/** A register's number, or memory. */
export type Place = number | Address | Constant;

/** Bits of a vector register that an instruction works on. */
export type Bits = 128 | 256 | 512;

/** How a vector instruction is used. */
export interface VectorUse {
  readonly bits: Bits;
  readonly immediate?: number;
  /** One f32 of memory in every lane. */
  readonly broadcast?: boolean;
  /** A mask register. */
  readonly mask?: number;
  readonly wide?: boolean;
  /** Asks for the EVEX form. */
  readonly evex?: boolean;
}

/** Conditions of jumps: signed and unsigned comparisons. */
const CONDITIONS = {
  ...{ lt: 0xc, ge: 0xd, eq: 0x4, ne: 0x5, above: 0x7, parity: 0xa, noParity: 0xb },
} as const;
export type Condition = keyof typeof CONDITIONS;

/** Integer operations on two operands: the opcode of `r, r/m` and the digit of `r/m, imm`. */
const ALU = {
  add: [0x03, 0],
  and: [0x23, 4],
  sub: [0x2b, 5],
  cmp: [0x3b, 7],
} as const;

const STACK = 4;
const isByte = (value: number) => value >= -128 && value < 128;

/** Fails for what 32 bits do not hold. */
function check32(value: number): number {
  if (value < -(2 ** 31) || value >= 2 ** 31) {
    throw new Error(`x64: ${value} does not fit into 32 bits`);
  }
  return value;
}

/** Code under construction, with labels and constants. */
export class Assembler {
  readonly bytes: number[] = [];
  readonly #labels = new Map<number, number>();
  readonly #jumps: { readonly at: number; readonly label: number }[] = [];
  readonly #uses: { readonly at: number; readonly end: number; readonly constant: number }[] = [];

  #int32(value: number): void {
    this.bytes.push(value & 255, value >> 8 & 255, value >> 16 & 255, value >> 24 & 255);
  }

  /** ModR/M, SIB and displacement; `unit` is what an 8-bit displacement counts in. */
  #operand(reg: number, rm: Place, unit: number, immediates: number): void {
    const field = (reg & 7) << 3;
    if (typeof rm === "number") {
      this.bytes.push(0xc0 | field | rm & 7);
      return;
    }
    if ("constant" in rm) {
      this.bytes.push(field | 5);
      const at = this.bytes.length;
      this.#uses.push({ at, end: at + 4 + immediates, constant: rm.constant });
      this.#int32(0);
      return;
    }
    const { base, index, scale, disp } = rm;
    const short = disp % unit === 0 && isByte(disp / unit);
    // Base registers whose low bits are those of rbp have no form without displacement.
    const mode = disp === 0 && (base & 7) !== 5 ? 0 : short ? 1 : 2;
    if (index === undefined && (base & 7) !== STACK) this.bytes.push(mode << 6 | field | base & 7);
    else {
      const scaled = { 1: 0, 2: 1, 4: 2, 8: 3 }[scale];
      this.bytes.push(
        mode << 6 | field | 4,
        scaled << 6 | ((index ?? STACK) & 7) << 3 | base & 7,
      );
    }
    if (mode === 1) this.bytes.push(disp / unit & 255);
    else if (mode === 2) this.#int32(check32(disp));
  }

  /** An integer instruction on 64 bits, or on 32 with `wide` false. */
  #integer(
    opcode: readonly number[],
    reg: number,
    rm: Place,
    immediates = 0,
    wide = true,
  ): void {
    const [x, b] = extensions(rm);
    const rex = (wide ? 8 : 0) | (reg >> 3 & 1) << 2 | (x ? 2 : 0) | (b ? 1 : 0);
    if (rex !== 0) this.bytes.push(0x40 | rex);
    this.bytes.push(...opcode);
    this.#operand(reg, rm, 1, immediates);
  }

  move(to: number, from: Place): void {
    if (to !== from) this.#integer([0x8b], to, from);
  }
  /** A register to memory: 64 bits, or 32. */
  store(to: Address, from: number, bits: 64 | 32 = 64): void {
    this.#integer([0x89], from, to, 0, bits === 64);
  }
  /** Brings a line of memory into every cache from one on (prefetcht0, prefetcht1). */
  prefetch(at: Address, cache: Cache): void {
    this.#integer([0x0f, 0x18], cache, at, 0, false);
  }
  /** A constant to a register. */
  set(to: number, value: number): void {
    if (value >= -(2 ** 31) && value < 2 ** 31) {
      this.#integer([0xc7], 0, to, 4);
      this.#int32(value);
    } else if (value >= 0 && value < 2 ** 32) {
      // 32-bit moves clear the upper half.
      if (to >= 8) this.bytes.push(0x41);
      this.bytes.push(0xb8 | to & 7);
      this.#int32(value | 0);
    } else throw new Error(`x64: ${value} is no constant of 32 bits`);
  }
  /** A signed 32-bit number of memory or of a register to 64 bits. */
  signExtend(to: number, from: Place): void {
    this.#integer([0x63], to, from);
  }
  address(to: number, from: Address): void {
    this.#integer([0x8d], to, from);
  }
  alu(op: keyof typeof ALU, to: number, from: Place): void {
    this.#integer([ALU[op][0]], to, from);
  }
  aluConstant(op: keyof typeof ALU, to: number, value: number): void {
    const short = isByte(value);
    this.#integer([short ? 0x83 : 0x81], ALU[op][1], to, short ? 1 : 4);
    if (short) this.bytes.push(value & 255);
    else this.#int32(check32(value));
  }
  multiply(to: number, from: Place): void {
    this.#integer([0x0f, 0xaf], to, from);
  }
  multiplyConstant(to: number, from: Place, value: number): void {
    const short = isByte(value);
    this.#integer([short ? 0x6b : 0x69], to, from, short ? 1 : 4);
    if (short) this.bytes.push(value & 255);
    else this.#int32(check32(value));
  }
  negate(to: number): void {
    this.#integer([0xf7], 3, to);
  }
  shift(to: number, direction: "left" | "right", count: number): void {
    this.#integer([0xc1], direction === "left" ? 4 : 5, to, 1);
    this.bytes.push(count);
  }
  /** 1 where a condition holds, else 0. */
  flag(to: number, condition: Condition): void {
    // Without a prefix, numbers 4–7 would mean other registers.
    this.bytes.push(0x40 | (to >= 8 ? 1 : 0), 0x0f, 0x90 | CONDITIONS[condition], 0xc0 | to & 7);
    this.#integer([0x0f, 0xb6], to, to);
  }
  moveIf(condition: Condition, to: number, from: Place): void {
    this.#integer([0x0f, 0x40 | CONDITIONS[condition]], to, from);
  }
  push(register: number): void {
    if (register >= 8) this.bytes.push(0x41);
    this.bytes.push(0x50 | register & 7);
  }
  pop(register: number): void {
    if (register >= 8) this.bytes.push(0x41);
    this.bytes.push(0x58 | register & 7);
  }
  return(): void {
    this.bytes.push(0xc3);
  }

  label(label: number): void {
    this.#labels.set(label, this.bytes.length);
  }
  jump(label: number): void {
    this.bytes.push(0xe9);
    this.#jumps.push({ at: this.bytes.length, label });
    this.#int32(0);
  }
  jumpIf(condition: Condition, label: number): void {
    this.bytes.push(0x0f, 0x80 | CONDITIONS[condition]);
    this.#jumps.push({ at: this.bytes.length, label });
    this.#int32(0);
  }
  /** Instructions that do nothing, up to a multiple of a number of bytes. */
  align(bytes: number): void {
    const nops = [
      ...[[0x90], [0x66, 0x90], [0x0f, 0x1f, 0], [0x0f, 0x1f, 0x40, 0], [0x0f, 0x1f, 0x44, 0, 0]],
      ...[[0x66, 0x0f, 0x1f, 0x44, 0, 0], [0x0f, 0x1f, 0x80, 0, 0, 0, 0]],
      [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
    ];
    for (let left = -this.bytes.length & (bytes - 1); left > 0;) {
      const nop = nops[Math.min(left, nops.length) - 1];
      this.bytes.push(...nop);
      left -= nop.length;
    }
  }

  /** A vector instruction: `reg` and `second` are registers, `rm` is a register or memory. */
  vector(op: VectorOpcode, reg: number, second: number, rm: Place, use: VectorUse): void {
    const { bits, immediate, broadcast = false, mask = 0 } = use;
    const wide = use.wide ?? op.wide ?? false;
    const beyond = reg > 15 || second > 15 || (typeof rm === "number" && rm > 15);
    const evex = op.only === "evex" || use.evex === true || bits === 512 || broadcast ||
      mask !== 0 || beyond;
    if (evex && op.only === "vex") throw new Error("x64: an instruction without an EVEX form");
    const [x, b] = extensions(rm);
    const not = (bit: number | boolean, at: number) => bit ? 0 : 1 << at;
    const length = { 128: 0, 256: 1, 512: 2 }[bits];
    if (evex) {
      const high = typeof rm === "number" ? rm & 16 : x;
      this.bytes.push(
        0x62,
        not(reg & 8, 7) | not(high, 6) | not(b, 5) | not(reg & 16, 4) | op.map,
        (wide ? 0x80 : 0) | (~second & 15) << 3 | 4 | op.prefix,
        length << 5 | (broadcast ? 16 : 0) | not(second & 16, 3) | mask,
      );
    } else {
      const last = (~second & 15) << 3 | length << 2 | op.prefix;
      if (op.map === 1 && !wide && !x && !b) this.bytes.push(0xc5, not(reg & 8, 7) | last);
      else {
        this.bytes.push(
          0xc4,
          not(reg & 8, 7) | not(x, 6) | not(b, 5) | op.map,
          (wide ? 0x80 : 0) | last,
        );
      }
    }
    this.bytes.push(op.opcode);
    const unit = evex ? broadcast ? 4 : op.memory ?? bits / 8 / (op.part ?? 1) : 1;
    this.#operand(reg, rm, unit, immediate === undefined ? 0 : 1);
    if (immediate !== undefined) this.bytes.push(immediate);
  }

  /** Cleans the upper halves, so that older vector instructions run at full speed. */
  zeroUpper(): void {
    this.bytes.push(0xc5, 0xf8, 0x77);
  }

  /** The code with its constants behind it, at a multiple of 64. */
  finish(constants: Uint8Array): Uint8Array<ArrayBuffer> {
    const start = Math.ceil(this.bytes.length / 64) * 64;
    const out = new Uint8Array(start + constants.length);
    out.set(this.bytes);
    out.set(constants, start);
    const view = new DataView(out.buffer);
    for (const { at, label } of this.#jumps) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new Error(`x64: no label ${label}`);
      view.setInt32(at, target - (at + 4), true);
    }
    for (const { at, end, constant } of this.#uses) {
      view.setInt32(at, start + constant - end, true);
    }
    return out;
  }
}

/** Whether the fourth bits of an operand's index and base are set. */
function extensions(rm: Place): [boolean, boolean] {
  if (typeof rm === "number") return [false, (rm & 8) !== 0];
  if ("constant" in rm) return [false, false];
  return [((rm.index ?? 0) & 8) !== 0, (rm.base & 8) !== 0];
}
