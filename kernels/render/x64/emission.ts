/** The bytes of a lowered kernel: a function of System V's calling convention. */

import type { Address } from "./encoding.ts";
import { compare, integerResult } from "./emission_integers.ts";
import { chooseReal, vectorResult } from "./emission_vectors.ts";
import type { Instruction, LinearCode, MemoryOperand } from "./linear.ts";
import { SPECIAL_OPCODES as special, TILE_OPCODES as tile } from "./opcodes.ts";
import { Places, RAX, RBP, RBX, RDI, RSI, RSP } from "./places.ts";

/** Tiles have the form of 128 bits. */
const TILE_USE = { bits: 128 } as const;

/** Registers that a function leaves as they were. */
const SAVED = [RBX, RBP, 12, 13, 14, 15];

/** How well a kernel fitted into the registers. */
export interface EmittedCode {
  readonly code: Uint8Array<ArrayBuffer>;
  /** Vectors, and integers and pointers, that lie on the stack. */
  readonly spilled: { readonly vectors: number; readonly integers: number };
}

/** Allocates registers and encodes. */
export function emit(code: LinearCode, evex: boolean): EmittedCode {
  const places = new Places(code, evex);
  wholeFunction(places);
  return {
    code: places.asm.finish(code.constants),
    spilled: { vectors: places.vectors.spilled, integers: places.integers.spilled },
  };
}

/**
 * The function takes two addresses: of arguments of 64 bits, and of the first item and the one
 * after the last, 32 bits each. It gives 0.
 */
function wholeFunction(p: Places): void {
  const { asm } = p;
  const frame = p.frame;
  for (const register of SAVED) asm.push(register);
  asm.move(RAX, RSP);
  asm.aluConstant("sub", RSP, frame);
  asm.aluConstant("and", RSP, -64);
  asm.store({ base: RSP, scale: 1, disp: frame - 8 }, RAX);
  loadParameters(p);
  const { tiles } = p.code;
  if (tiles !== undefined) asm.vector(tile.configure, 0, 0, { constant: tiles }, TILE_USE);
  const loops = new Set(p.code.loops.map(({ begin }) => begin));
  p.code.instructions.forEach((each, i) => {
    if (loops.has(i)) asm.align(16);
    instruction(p, each);
  });
  if (tiles !== undefined) asm.vector(tile.release, 0, 0, 0, TILE_USE);
  asm.move(RSP, { base: RSP, scale: 1, disp: frame - 8 });
  for (const register of SAVED.toReversed()) asm.pop(register);
  asm.alu("sub", RAX, RAX);
  asm.zeroUpper();
  asm.return();
}

function loadParameters(p: Places): void {
  const { asm } = p;
  const { parameters } = p.code;
  const from = parameters.map((_, i): Address => {
    const ofRange = i - (parameters.length - 2);
    return ofRange < 0
      ? { base: RDI, scale: 1, disp: 8 * i }
      : { base: RSI, scale: 1, disp: 4 * ofRange };
  });
  const places = parameters.map((register) => p.integers.places[register]);
  const ofAddress = places.flatMap((place, i) => place === RDI || place === RSI ? [i] : []);
  const saved = (register: number) => p.saved(register === RDI ? 0 : 1);
  const take = (to: number, at: Address, of = at.base) =>
    of === RDI ? asm.move(to, at) : asm.signExtend(to, at);
  for (const register of [RDI, RSI]) asm.store(saved(register), register);
  parameters.forEach((_, i) => {
    if (places[i] >= 0) return;
    take(RAX, from[i]);
    asm.store(p.integerSlot(places[i]), RAX);
  });
  parameters.forEach((_, i) => {
    if (places[i] >= 0 && !ofAddress.includes(i)) take(places[i], from[i]);
  });
  for (const i of ofAddress) {
    asm.move(places[i], saved(from[i].base));
    take(places[i], { ...from[i], base: places[i] }, from[i].base);
  }
}

function instruction(p: Places, each: Instruction): void {
  const { asm } = p;
  const { from } = each;
  switch (each.op) {
    case "label":
      asm.label(each.label);
      return;
    case "jump":
      asm.jump(each.label);
      return;
    case "branch":
      compare(p, from[0], from[1]);
      asm.jumpIf(each.condition, each.label);
      return;
    case "store": {
      let at = p.memory(from[1]);
      if (at.index !== undefined && at.index === p.integers.room[1]) {
        // The value needs the register.
        asm.address(p.integers.room[0], at);
        at = { base: p.integers.room[0], scale: 1, disp: 0 };
      }
      const value = p.integer(from[0], 1);
      asm.store(at, value, 32);
      return;
    }
    case "prefetch":
      asm.prefetch(p.memory(from[0]), each.cache);
      return;
    case "vectorStore": {
      const bits = each.bits === 32 ? 128 : each.bits;
      const value = p.vector(from[0], 0, bits);
      const op = each.bits === 32 ? special.storeScalar : special.store;
      asm.vector(op, value, 0, p.memory(from[1]), { bits });
      return;
    }
    case "byteStore": {
      const { bits } = each;
      asm.vector(special.storeBytes, p.vector(from[0], 0, bits), 0, p.memory(from[1]), { bits });
      return;
    }
    case "vector":
    case "fma":
    case "zero":
    case "laneMask":
    case "laneChoose":
    case "laneSelect":
    case "permute":
    case "dot":
    case "toReal":
      vectorResult(p, each);
      return;
    case "tile":
      tileInstruction(p, each);
      return;
    case "choose":
      if (each.of === "vector") chooseReal(p, each);
      else integerResult(p, each);
      return;
    default:
      integerResult(p, each);
  }
}

function tileInstruction(
  p: Places,
  { tile: to, action, from }: Instruction & { op: "tile" },
): void {
  const { asm } = p;
  switch (action.op) {
    case "zero":
      return asm.vector(tile.zero, to, 0, 0, TILE_USE);
    case "product":
      return asm.vector(tile.product, to, action.right, action.left, TILE_USE);
    case "load":
    case "store": {
      // The index is no part of an address, but the distance of rows: it stays what it is.
      const { base, index, disp } = from[0] as MemoryOperand;
      const rows: Address = {
        ...{ base: p.integer(base, 0), index: p.integer(index!, 1), scale: 1, disp },
      };
      return asm.vector(tile[action.op], to, 0, rows, TILE_USE);
    }
    default:
      action satisfies never;
  }
}
