/** Where the registers of a kernel are on the machine, and how they get to where they are needed. */

import { allocate, type Allocation } from "./allocation.ts";
import { type Address, Assembler, type Bits, type Place } from "./encoding.ts";
import type { LinearCode, Operand, Register } from "./linear.ts";
import { SPECIAL_OPCODES as special, VECTOR_OPCODES } from "./opcodes.ts";

/** Integer registers by the manual's numbers. */
export const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7];
/** The first ones are shortest to encode. */
const INTEGERS = [RAX, RCX, RDX, RBX, RSI, RDI, 8, 9, 10, 11, RBP, 12, 13, 14, 15];

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

/** A kernel's code under construction, with its registers allocated. */
export class Places {
  readonly asm = new Assembler();
  readonly evex: boolean;
  readonly code: LinearCode;
  readonly integers: ReturnType<typeof allocateWithRoom>;
  readonly vectors: ReturnType<typeof allocateWithRoom>;
  #labels = -1;

  constructor(code: LinearCode, evex: boolean) {
    this.code = code;
    this.evex = evex;
    this.integers = allocateWithRoom(code, "integer", INTEGERS);
    const vectors = Array.from({ length: evex ? 32 : 16 }, (_, i) => i);
    this.vectors = allocateWithRoom(code, "vector", vectors);
  }

  /** A label that the kernel does not have. */
  label(): number {
    return this.#labels--;
  }

  /** Bytes of the stack: vectors, integers, two saved addresses and the stack's old end. */
  get frame(): number {
    const bytes = 64 * this.vectors.spilled + 8 * (this.integers.spilled + 3);
    return Math.ceil(bytes / 64) * 64;
  }
  /** Where the addresses that the function was called with are kept. */
  saved(index: 0 | 1): Address {
    return { base: RSP, scale: 1, disp: this.frame - 24 + 8 * index };
  }

  /** Where an integer on the stack is, by its place. */
  integerSlot(place: number): Address {
    return { base: RSP, scale: 1, disp: 64 * this.vectors.spilled + 8 * (-1 - place) };
  }
  vectorSlot(place: number): Address {
    return { base: RSP, scale: 1, disp: 64 * (-1 - place) };
  }
  /** The machine register or the memory that a register is. */
  place(register: Register): Place {
    const isInteger = this.code.kinds[register] === "integer";
    const place = (isInteger ? this.integers : this.vectors).places[register];
    if (place >= 0) return place;
    return isInteger ? this.integerSlot(place) : this.vectorSlot(place);
  }

  /** An integer in a machine register; one on the stack comes into the free one of a number. */
  integer(operand: Operand, room: number): number {
    const place = this.place(operand as Register);
    if (typeof place === "number") return place;
    this.asm.move(this.integers.room[room], place);
    return this.integers.room[room];
  }

  /** A vector in a machine register. */
  vector(operand: Operand, room: number, bits: Bits): number {
    const place = this.place(operand as Register);
    if (typeof place === "number") return place;
    const held = this.vectors.room[room];
    this.asm.vector(VECTOR_OPCODES.load, held, 0, place, { bits });
    return held;
  }

  /** Memory by machine registers; both free ones may be used, the second is free again after. */
  memory(operand: Operand): Address {
    const { base, index, scale, disp } = operand as Address;
    const first = this.integer(base, 0);
    if (index === undefined) return { base: first, scale, disp };
    const second = this.integer(index, 1);
    const room = this.integers.room;
    if (first !== room[0] || second !== room[1]) return { base: first, index: second, scale, disp };
    this.asm.address(first, { base: first, index: second, scale, disp });
    return { base: first, scale: 1, disp: 0 };
  }

  /** Where a result is computed, and what brings it to the stack if that is its place. */
  result(register: Register, room = 0): { at: number; done: () => void } {
    const place = this.place(register);
    if (typeof place === "number") return { at: place, done: () => {} };
    if (this.code.kinds[register] === "integer") {
      const at = this.integers.room[room];
      return { at, done: () => this.asm.store(place as Address, at) };
    }
    const at = this.vectors.room[room];
    const bits: Bits = this.evex ? 512 : 256;
    return { at, done: () => this.asm.vector(special.store, at, 0, place, { bits }) };
  }

  /** The last operand of a vector instruction. */
  source(operand: Operand): { place: Place; broadcast?: boolean } {
    if (typeof operand === "number") return { place: this.place(operand) };
    if ("constant" in operand) {
      return { place: { constant: operand.constant }, broadcast: operand.broadcast };
    }
    if ("immediate" in operand) throw new Error("x64: a number as a vector");
    return { place: this.memory(operand), broadcast: operand.broadcast };
  }
}
