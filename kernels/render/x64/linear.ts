/**
 * A kernel as a list of instructions on any number of registers: what the tree is lowered to, and
 * what registers are then allocated for.
 */

import type { Cache } from "../../language/syntax.ts";
import type { Bits, Condition } from "./encoding.ts";
import type { VectorName } from "./opcodes.ts";

/** A register, of which there are as many as one likes. */
export type Register = number;

/** Integers and addresses, or vectors (and f32, which are a vector's first lane). */
export type RegisterKind = "integer" | "vector";

/** Memory by registers; `broadcast` puts one f32 of it into all lanes. */
export interface MemoryOperand {
  readonly base: Register;
  readonly index?: Register;
  readonly scale: 1 | 2 | 4 | 8;
  readonly disp: number;
  readonly broadcast?: boolean;
}

/** A constant in memory. */
export interface ConstantOperand {
  readonly constant: number;
  readonly broadcast?: boolean;
}

/** A number that is part of an instruction. */
export interface Immediate {
  readonly immediate: number;
}

/** What an instruction reads. */
export type Operand = Register | MemoryOperand | ConstantOperand | Immediate;

/** What an instruction does to its operands. */
export type Action =
  | { readonly op: "label" | "jump"; readonly label: number }
  /** Jumps where a comparison of two integers holds. */
  | { readonly op: "branch"; readonly condition: Condition; readonly label: number }
  | { readonly op: "move" | "load" | "address" | "store" }
  | { readonly op: "prefetch"; readonly cache: Cache }
  | { readonly op: "integer"; readonly fn: "add" | "sub" | "and" | "mul" }
  | { readonly op: "shift"; readonly count: number }
  /** [x, y] compared: 1 or 0. */
  | { readonly op: "flag"; readonly condition: Condition }
  /** [x, y] compared: the third operand or the fourth. */
  | { readonly op: "choose"; readonly condition: Condition; readonly of: RegisterKind }
  /** Two f32 compared: 1 or 0. */
  | { readonly op: "flagReal"; readonly fn: "lt" | "eq" }
  | { readonly op: "toReal" | "toInteger" | "zero" }
  /** One vector instruction; its last operand may be memory. */
  | {
    readonly op: "vector";
    readonly name: VectorName;
    readonly bits: Bits;
    readonly immediate?: number;
  }
  | { readonly op: "vectorStore"; readonly bits: Bits | 32 }
  /** Lanes of 32 bits to memory as bytes. */
  | { readonly op: "byteStore"; readonly bits: Bits }
  | { readonly op: "fma"; readonly bits: Bits }
  /** [x, y] compared by lanes: a lane mask. */
  | { readonly op: "laneMask"; readonly fn: "lt" | "eq"; readonly bits: Bits }
  /** [x, y] compared by lanes: lanes of the third or the fourth. */
  | { readonly op: "laneChoose"; readonly fn: "lt" | "eq"; readonly bits: Bits }
  /** [mask, a, b]: lanes of a or of b. */
  | { readonly op: "laneSelect"; readonly bits: Bits }
  /** [c, a, b]: products of bytes of a and b added to c. */
  | { readonly op: "dot"; readonly bits: Bits }
  /** [numbers, a, b]: lanes of a and b by their numbers. */
  | { readonly op: "permute"; readonly bits: Bits }
  /** A tile; the memory of a load or store has the distance of rows as its index. */
  | { readonly op: "tile"; readonly tile: number; readonly action: LinearTileAction };

/** What becomes of a tile. */
export type LinearTileAction =
  | { readonly op: "zero" | "load" | "store" }
  | { readonly op: "product"; readonly left: number; readonly right: number };

/** One instruction. `late` are registers that it still reads after it has written. */
export type Instruction = Action & {
  readonly to?: Register;
  readonly from: readonly Operand[];
  readonly late?: readonly Register[];
};

/** A loop's first and last instruction. */
export interface LoopRange {
  readonly begin: number;
  readonly end: number;
}

/** A lowered kernel. */
export interface LinearCode {
  readonly instructions: readonly Instruction[];
  readonly kinds: readonly RegisterKind[];
  readonly loops: readonly LoopRange[];
  readonly constants: Uint8Array;
  /** The constant that tells what tiles are, if there are any. */
  readonly tiles?: number;
  /** Registers that hold the arguments; the last two are the range of items. */
  readonly parameters: readonly Register[];
}

/** The registers that an operand is made of. */
export function registersOf(operand: Operand): readonly Register[] {
  if (typeof operand === "number") return [operand];
  if (!("base" in operand)) return [];
  return operand.index === undefined ? [operand.base] : [operand.base, operand.index];
}
