/** Vector instructions by name. */

/** An opcode of a vector instruction: map 0F, 0F38 or 0F3A; prefix none, 66, F3 or F2. */
export interface VectorOpcode {
  readonly map: 1 | 2 | 3;
  readonly prefix: 0 | 1 | 2 | 3;
  readonly opcode: number;
  readonly wide?: boolean;
  /** The bytes that its memory operand has, where those are not all of the vector. */
  readonly memory?: number;
  /** What part of the vector its memory operand is: it widens numbers. */
  readonly part?: 2 | 4;
  /** Whether there is no EVEX form, or no VEX form. */
  readonly only?: "vex" | "evex";
}

const ps = (opcode: number): VectorOpcode => ({ map: 1, prefix: 0, opcode });
const integer = (opcode: number): VectorOpcode => ({ map: 1, prefix: 1, opcode });

/** Instructions of a destination and one or two sources, of which the last may be memory. */
export const VECTOR_OPCODES = {
  add: ps(0x58),
  mul: ps(0x59),
  sub: ps(0x5c),
  min: ps(0x5d),
  div: ps(0x5e),
  max: ps(0x5f),
  and: ps(0x54),
  or: ps(0x56),
  andNot: ps(0x55),
  xor: ps(0x57),
  unpackLow: ps(0x14),
  unpackHigh: ps(0x15),
  shuffle: ps(0xc6),
  sqrt: ps(0x51),
  move: ps(0x28),
  load: ps(0x10),
  loadScalar: { map: 1, prefix: 2, opcode: 0x10, memory: 4 },
  convert: ps(0x5b),
  convertToWhole: integer(0x5b),
  round: { map: 3, prefix: 1, opcode: 0x08 },
  addInteger: integer(0xfe),
  subInteger: integer(0xfa),
  andInteger: integer(0xdb),
  splat: { map: 2, prefix: 1, opcode: 0x18, memory: 4 },
  splatHalf: { map: 2, prefix: 1, opcode: 0x79, memory: 2 },
  widenHalves: { map: 2, prefix: 1, opcode: 0x33, part: 2 },
  convertHalves: { map: 2, prefix: 1, opcode: 0x13, part: 2 },
  widenBytes: { map: 2, prefix: 1, opcode: 0x31, part: 4 },
  widenSignedBytes: { map: 2, prefix: 1, opcode: 0x21, part: 4 },
  loadQuad: { map: 2, prefix: 1, opcode: 0x1a, memory: 16 },
  /** Unsigned bytes by signed ones, two products added in 16 bits; and words, in 32 bits. */
  multiplyBytes: { map: 2, prefix: 1, opcode: 0x04 },
  multiplyWords: integer(0xf5),
  packWords: integer(0x6b),
  packBytes: integer(0x63),
  /** The bits of every byte by a matrix of 8 × 8 bits (GFNI). */
  mixBits: { map: 3, prefix: 1, opcode: 0xce, wide: true },
  permuteLanes: { map: 2, prefix: 1, opcode: 0x16 },
  permute: { map: 3, prefix: 1, opcode: 0x04 },
  insertQuad: { map: 3, prefix: 1, opcode: 0x18, memory: 16, only: "evex" },
  blend: { map: 3, prefix: 1, opcode: 0x0c, only: "vex" },
} as const satisfies Record<string, VectorOpcode>;

/** A vector instruction's name; the others have a destination that is not their first operand. */
export type VectorName =
  | keyof typeof VECTOR_OPCODES
  | "shiftLeft"
  | "shiftRight"
  | "shiftRightUnsigned"
  | "upperHalf";

/** Shifts to the left, to the right with the sign, and to the right with zeros. */
export const SHIFT_DIGITS = { shiftLeft: 6, shiftRight: 4, shiftRightUnsigned: 2 } as const;

/** Instructions on tiles; memory of rows is an address with their distance as its index. */
export const TILE_OPCODES = {
  /** Reads what the tiles are from 64 bytes. */
  configure: { map: 2, prefix: 0, opcode: 0x49, only: "vex" },
  /** Makes them unused again, so that the system need not save them; on no operands. */
  release: { map: 2, prefix: 0, opcode: 0x49, only: "vex" },
  zero: { map: 2, prefix: 3, opcode: 0x49, only: "vex" },
  load: { map: 2, prefix: 3, opcode: 0x4b, only: "vex" },
  store: { map: 2, prefix: 2, opcode: 0x4b, only: "vex" },
  /** Of pairs of bf16, into f32. */
  product: { map: 2, prefix: 2, opcode: 0x5c, only: "vex" },
} as const satisfies Record<string, VectorOpcode>;

/** Instructions with operands of their own kind. */
export const SPECIAL_OPCODES = {
  store: ps(0x11),
  storeScalar: { map: 1, prefix: 2, opcode: 0x11, memory: 4 },
  /** Shifts are digits of one opcode (SHIFT_DIGITS). */
  shift: integer(0x72),
  upper128: { map: 3, prefix: 1, opcode: 0x19 },
  upper256: { map: 3, prefix: 1, opcode: 0x1b, wide: true, only: "evex" },
  compare: { map: 1, prefix: 0, opcode: 0xc2 },
  compareScalar: { map: 1, prefix: 0, opcode: 0x2e, memory: 4 },
  maskToLanes: { map: 2, prefix: 2, opcode: 0x38, only: "evex" },
  lanesToMask: { map: 2, prefix: 2, opcode: 0x39, only: "evex" },
  blendMask: { map: 2, prefix: 1, opcode: 0x65, only: "evex" },
  blendLanes: { map: 3, prefix: 1, opcode: 0x4a, only: "vex" },
  /** Lanes of 32 bits as bytes of memory. */
  storeBytes: { map: 2, prefix: 2, opcode: 0x31, part: 4, only: "evex" },
  /** Unsigned bytes by signed ones, four products added to 32 bits. */
  dotBytes: { map: 2, prefix: 1, opcode: 0x50, only: "evex" },
  permuteTables: { map: 2, prefix: 1, opcode: 0x77, only: "evex" },
  fromInteger: { map: 1, prefix: 2, opcode: 0x2a, wide: true, memory: 8 },
  toInteger: { map: 1, prefix: 2, opcode: 0x2c, wide: true, memory: 4 },
  fma132: { map: 2, prefix: 1, opcode: 0x98 },
  fma213: { map: 2, prefix: 1, opcode: 0xa8 },
  fma231: { map: 2, prefix: 1, opcode: 0xb8 },
} as const satisfies Record<string, VectorOpcode>;
