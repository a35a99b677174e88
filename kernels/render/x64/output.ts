/** The instructions of a kernel while it is lowered, its registers, and the loops that are open. */

import { type Expr, type KernelCode, TILES, type ValueType } from "../../language/syntax.ts";
import { countSets } from "../walk.ts";
import type { ConstantPool } from "./constants.ts";
import type { Bits } from "./encoding.ts";
import type { Action, Instruction, LinearCode, Operand, Register, RegisterKind } from "./linear.ts";

/** A loop that is being lowered. */
interface OpenLoop {
  /** Locals that it sets. */
  readonly sets: ReadonlySet<number>;
  /** What is computed before it, by what it computes. */
  readonly hoisted: Map<string, Register>;
  readonly before: Instruction[];
}

/** What lowering writes to. */
export class Output {
  /** Whether there is AVX-512, with its masks and broadcasts from memory. */
  readonly evex: boolean;
  /** Whether bytes are multiplied and added up by one instruction (AVX-512 VNNI). */
  readonly dots: boolean;
  /** Whether the bits of bytes are mixed by one instruction (GFNI). */
  readonly mixes: boolean;
  readonly pool: ConstantPool;
  /** Locals that are a pointer and a constant: those who use them use the pointer. */
  readonly aliases = new Map<number, Expr<"ptr">>();
  readonly #kinds: RegisterKind[] = [];
  readonly #locals: readonly Register[];
  readonly #parameters: number;
  readonly #sets: readonly number[];
  readonly #loopLabels: { readonly begin: number; readonly end: number }[] = [];
  #out: Instruction[] = [];
  #loops: readonly OpenLoop[] = [];
  #labels = 0;
  #tiles: number | undefined;

  constructor(
    code: KernelCode,
    pool: ConstantPool,
    { evex, dots, mixes }: Readonly<Record<"evex" | "dots" | "mixes", boolean>>,
  ) {
    this.pool = pool;
    this.evex = evex;
    this.dots = dots;
    this.mixes = mixes;
    this.#parameters = code.parameters.length;
    const types = [...code.parameters, ...code.locals];
    this.#locals = types.map((type) => this.register(kindOf(type)));
    this.#sets = countSets(code.body, types.length);
  }

  /** All that was written. */
  finish(): LinearCode {
    const places = new Map(
      this.#out.flatMap((each, i) => each.op === "label" ? [[each.label, i] as const] : []),
    );
    return {
      instructions: this.#out,
      kinds: this.#kinds,
      loops: this.#loopLabels.map(({ begin, end }) => ({
        begin: places.get(begin)!,
        end: places.get(end)!,
      })),
      constants: this.pool.bytes(),
      ...(this.#tiles === undefined ? {} : { tiles: this.#tiles }),
      parameters: this.#locals.slice(0, this.#parameters),
    };
  }

  register(kind: RegisterKind): Register {
    return this.#kinds.push(kind) - 1;
  }

  emit(action: Action, to: Register | undefined, ...from: readonly Operand[]): void {
    this.#out.push({ ...action, from, ...(to === undefined ? {} : { to }) });
  }

  emitLate(action: Action, to: Register, from: readonly Operand[], late: readonly Register[]) {
    this.#out.push({ ...action, from, to, late });
  }

  /** Says that there are tiles, all of the greatest size. */
  useTiles(): void {
    const { count, rows, rowBytes } = TILES;
    const words = new Uint32Array(16);
    const bytes = new Uint8Array(words.buffer);
    // Palette 1; from byte 16 on the bytes of a row, from byte 48 on the rows of each tile.
    bytes[0] = 1;
    new Uint16Array(words.buffer, 16, count).fill(rowBytes);
    bytes.fill(rows, 48, 48 + count);
    this.#tiles = this.pool.words([...words]);
  }

  label(): number {
    return this.#labels++;
  }

  /** Puts a label here. */
  mark(label: number): void {
    this.emit({ op: "label", label }, undefined);
  }

  /** Says that the instructions between two labels are a loop. */
  markLoop(begin: number, end: number): void {
    this.#loopLabels.push({ begin, end });
  }

  /** The register of a local. */
  local(index: number): Register {
    return this.#locals[index];
  }

  /** Parameters are never set, other locals at least once. */
  isSetOnce(index: number): boolean {
    return this.#sets[index] === (index < this.#parameters ? 0 : 1);
  }

  /** Writes a loop that sets some locals, and before it what does not change in it. */
  loop(sets: readonly number[], write: () => void): void {
    const [out, loops] = [this.#out, this.#loops];
    const loop: OpenLoop = { sets: new Set(sets), hoisted: new Map(), before: [] };
    this.#out = [];
    this.#loops = [...loops, loop];
    write();
    for (const each of loop.before) out.push(each);
    for (const each of this.#out) out.push(each);
    this.#out = out;
    this.#loops = loops;
  }

  /**
   * An expression of some locals in a register, computed before all the loops that do not change
   * it, once; undefined where that is here.
   */
  hoisted(e: Expr, used: readonly number[], compute: () => Register): Register | undefined {
    const changes = (loop: OpenLoop) => used.some((index) => loop.sets.has(index));
    const home = this.#loops.findLastIndex(changes) + 1;
    if (home === this.#loops.length) return undefined;
    const { hoisted, before } = this.#loops[home];
    const key = JSON.stringify(e);
    const known = hoisted.get(key);
    if (known !== undefined) return known;
    const [out, loops] = [this.#out, this.#loops];
    this.#out = before;
    this.#loops = loops.slice(0, home);
    const register = compute();
    this.#out = out;
    this.#loops = loops;
    hoisted.set(key, register);
    return register;
  }
}

const kindOf = (type: ValueType): RegisterKind =>
  type === "i32" || type === "ptr" ? "integer" : "vector";

/** Bits of a vector type; an f32 is worked on as four lanes. */
export function bitsOf(type: ValueType): Bits {
  if (type === "f32x16") return 512;
  return type === "f32x8" ? 256 : 128;
}
