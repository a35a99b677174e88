/**
 * Lowers a kernel's tree to instructions.
 *
 * An i32 is kept as a 64-bit number, so that offsets may pass 2 GiB and need no extension. An f32
 * is the first lane of a vector register; the others hold what they like. Addresses that are a
 * pointer and a constant cost no register, and what does not change in a loop is computed before it.
 */

import type { BinaryOp, Expr, KernelCode, Statement, ValueType } from "../../language.ts";
import { countSets, setIn } from "../walk.ts";
import type { Bits, Condition } from "./encoding.ts";
import type { ConstantPool } from "./constants.ts";
import type {
  Action,
  Instruction,
  LinearCode,
  LoopRange,
  MemoryOperand,
  Operand,
  Register,
  RegisterKind,
} from "./linear.ts";
import { lowerVector, type VectorContext } from "./lowering_vectors.ts";

/** A loop that is being lowered. */
interface OpenLoop {
  /** Locals that it sets. */
  readonly sets: ReadonlySet<number>;
  /** What is computed before it, by what it computes. */
  readonly hoisted: Map<string, Register>;
  readonly before: Instruction[];
}

type Loop = Statement & { kind: "for" };
type Pointer = Expr<"ptr">;
type Index = Expr<"i32">;

/** An address while its parts are collected. */
interface Parts {
  readonly base: Pointer;
  readonly disp: number;
  readonly index?: { readonly value: Index; readonly scale: 1 | 2 | 4 | 8 };
}

export class Lowering implements VectorContext {
  readonly evex: boolean;
  readonly pool: ConstantPool;
  readonly #kinds: RegisterKind[] = [];
  readonly #locals: Register[] = [];
  readonly #code: KernelCode;
  readonly #sets: readonly number[];
  /** Locals that are a pointer and a constant. */
  readonly #aliases = new Map<number, Pointer>();
  #out: Instruction[] = [];
  #loops: OpenLoop[] = [];
  #labels = 0;
  readonly #loopLabels: { readonly begin: number; readonly end: number }[] = [];

  constructor(code: KernelCode, pool: ConstantPool, evex: boolean) {
    this.#code = code;
    this.pool = pool;
    this.evex = evex;
    const types = [...code.parameters, ...code.locals];
    this.#locals = types.map((type) => this.register(kindOf(type)));
    this.#sets = countSets(code.body, types.length);
  }

  run(): LinearCode {
    const { parameters, body } = this.#code;
    this.#statements(body);
    const places = new Map(
      this.#out.flatMap((each, i) => each.op === "label" ? [[each.label, i] as const] : []),
    );
    const loops = this.#loopLabels.map(({ begin, end }): LoopRange => ({
      begin: places.get(begin)!,
      end: places.get(end)!,
    }));
    return {
      instructions: this.#out,
      kinds: this.#kinds,
      loops,
      constants: this.pool.bytes(),
      parameters: parameters.map((_, i) => this.#locals[i]),
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

  /** The register of a local. */
  local(index: number): Register {
    return this.#locals[index];
  }

  #label(): number {
    return this.#labels++;
  }

  #statements(list: readonly Statement[]): void {
    for (const statement of list) this.#statement(statement);
  }

  #statement(s: Statement): void {
    switch (s.kind) {
      case "set":
        this.#set(s.local, s.value);
        return;
      case "store": {
        const { type } = s.value;
        if (type === "i32" || type === "ptr") {
          const value = this.integer(s.value);
          this.emit({ op: "store" }, undefined, value, this.memory(s.at, s.offset));
          return;
        }
        const value = this.vector(s.value);
        const bits = type === "f32" ? 32 : bitsOf(type);
        this.emit({ op: "vectorStore", bits }, undefined, value, this.memory(s.at, s.offset));
        return;
      }
      case "zero":
        this.#fill(s.at, undefined, s.bytes);
        return;
      case "copy":
        this.#fill(s.to, s.from, s.bytes);
        return;
      case "for":
        this.#for(s);
        return;
      case "if": {
        const [otherwise, end] = [this.#label(), this.#label()];
        this.#branch(s.condition, false, otherwise);
        this.#statements(s.then);
        if (s.otherwise.length > 0) {
          this.emit({ op: "jump", label: end }, undefined);
          this.emit({ op: "label", label: otherwise }, undefined);
          this.#statements(s.otherwise);
        } else this.emit({ op: "label", label: otherwise }, undefined);
        this.emit({ op: "label", label: end }, undefined);
        return;
      }
      default:
        s satisfies never;
    }
  }

  #set(local: Expr & { kind: "local" }, value: Expr): void {
    const to = this.#locals[local.index];
    if (local.type !== "ptr" && local.type !== "i32") {
      this.vector(value, to);
      return;
    }
    if (local.type === "ptr" && this.#isSetOnce(local.index)) {
      const { base, disp, index } = this.#parts(value as Pointer, 0);
      if (index === undefined && base.kind === "local" && this.#isSetOnce(base.index)) {
        // No code: those who use the local use the base.
        this.#aliases.set(
          local.index,
          disp === 0 ? base : {
            ...{ kind: "offset", type: "ptr", base },
            bytes: { kind: "const", type: "i32", value: disp },
          } as Pointer,
        );
        return;
      }
    }
    this.integer(value, to);
  }

  /** Parameters are never set, other locals at least once. */
  #isSetOnce(index: number): boolean {
    return this.#sets[index] === (index < this.#code.parameters.length ? 0 : 1);
  }

  // Control.

  /** Jumps to a label where a condition is as `when` says. */
  #branch(condition: Index, when: boolean, label: number): void {
    const { x, y, test } = this.#comparison(condition);
    this.emit({ op: "branch", condition: when ? test : OPPOSITE[test], label }, undefined, x, y);
  }

  /** A condition as a comparison of two integers. */
  #comparison(condition: Expr): { x: Register; y: Operand; test: "lt" | "ge" | "eq" | "ne" } {
    if (condition.kind === "binary" && condition.a.type !== "f32") {
      if (condition.op === "lt" || condition.op === "eq") {
        // Not (a comparison) is written as a comparison with 0.
        if (condition.op === "eq" && isZero(condition.b) && isComparison(condition.a)) {
          const inner = this.#comparison(condition.a);
          return { ...inner, test: OPPOSITE[inner.test] };
        }
        const x = this.integer(condition.a);
        return { x, y: this.#integerOperand(condition.b), test: condition.op };
      }
    }
    return { x: this.integer(condition), y: { immediate: 0 }, test: "ne" };
  }

  #for(s: Loop): void {
    const { begin, end, step } = s;
    const counter = this.#locals[s.counter.index];
    const known = begin.kind === "const" && end.kind === "const"
      ? Math.max(0, Math.ceil((end.value - begin.value) / step))
      : undefined;
    if (known === 0) return;
    if (known === 1) {
      this.integer(begin, counter);
      this.#statements(s.body);
      return;
    }
    const [first, last, skip] = [this.#label(), this.#label(), this.#label()];
    let limit = this.#integerOperand(end);
    if (typeof limit === "number" && (end.kind !== "local" || this.#setsLocal(s, end.index))) {
      const held = this.register("integer");
      this.emit({ op: "move" }, held, limit);
      limit = held;
    }
    this.integer(begin, counter);
    if (known === undefined) {
      this.emit({ op: "branch", condition: "ge", label: skip }, undefined, counter, limit);
    }
    const outer = this.#out;
    const loop: OpenLoop = {
      sets: new Set([...setIn(s.body), s.counter.index]),
      hoisted: new Map(),
      before: [],
    };
    this.#out = [];
    this.#loops.push(loop);
    this.emit({ op: "label", label: first }, undefined);
    this.#statements(s.body);
    this.emit({ op: "integer", fn: "add" }, counter, counter, { immediate: step });
    this.emit({ op: "branch", condition: "lt", label: first }, undefined, counter, limit);
    this.emit({ op: "label", label: last }, undefined);
    this.#loops.pop();
    for (const each of loop.before) outer.push(each);
    for (const each of this.#out) outer.push(each);
    this.#out = outer;
    this.emit({ op: "label", label: skip }, undefined);
    this.#loopLabels.push({ begin: first, end: last });
  }

  #setsLocal(s: Loop, index: number): boolean {
    return setIn(s.body).includes(index) || s.counter.index === index;
  }

  /** Writes zeros or copies, by the widest vectors and by four bytes at the end. */
  #fill(to: Pointer, from: Pointer | undefined, bytes: Index): void {
    const bits: Bits = this.evex ? 512 : 256;
    const size = bits / 8;
    const [target, source] = [to, from].map((at) => at === undefined ? undefined : this.#held(at));
    const value = this.register("vector");
    if (source === undefined) this.emit({ op: "zero" }, value);
    const move = (bits: Bits | 32, place: Omit<MemoryOperand, "base">) => {
      if (source !== undefined) {
        const name = bits === 32 ? "loadScalar" : "load";
        const from = { ...place, base: source.base, disp: place.disp + source.disp };
        this.emit({ op: "vector", name, bits: bits === 32 ? 128 : bits }, value, from);
      }
      const at = { ...place, base: target!.base, disp: place.disp + target!.disp };
      this.emit({ op: "vectorStore", bits }, undefined, value, at);
    };
    if (bytes.kind === "const" && bytes.value <= 8 * size) {
      let at = 0;
      for (const [width, step] of [[bits, size], [128, 16], [32, 4]] as const) {
        for (; at + step <= bytes.value; at += step) move(width, { scale: 1, disp: at });
      }
      return;
    }
    const count = this.#integerOperand(bytes);
    const place = this.register("integer");
    this.emit({ op: "move" }, place, { immediate: 0 });
    for (const [width, step] of [[bits, size], [32, 4]] as const) {
      const end = this.register("integer");
      if (typeof count === "number") {
        this.emit({ op: "integer", fn: "and" }, end, count, { immediate: -step });
      } else {this.emit({ op: "move" }, end, {
          immediate: Math.floor(bytesOf(count) / step) * step,
        });}
      const [again, done, after] = [this.#label(), this.#label(), this.#label()];
      this.emit({ op: "branch", condition: "ge", label: after }, undefined, place, end);
      this.emit({ op: "label", label: again }, undefined);
      move(width, { index: place, scale: 1, disp: 0 });
      this.emit({ op: "integer", fn: "add" }, place, place, { immediate: step });
      this.emit({ op: "branch", condition: "lt", label: again }, undefined, place, end);
      this.emit({ op: "label", label: done }, undefined);
      this.emit({ op: "label", label: after }, undefined);
      this.#loopLabels.push({ begin: again, end: done });
    }
  }

  // Addresses.

  /** An address without an index. */
  #held(at: Pointer): { base: Register; disp: number } {
    const memory = this.memory(at, 0);
    if (memory.index === undefined) return { base: memory.base, disp: memory.disp };
    const base = this.register("integer");
    this.emit({ op: "address" }, base, memory);
    return { base, disp: 0 };
  }

  /** A pointer taken apart, as far as one operand can hold it. */
  #parts(at: Pointer, disp: number): Parts {
    if (at.kind === "local") {
      const alias = this.#aliases.get(at.index);
      return alias === undefined ? { base: at, disp } : this.#parts(alias, disp);
    }
    if (at.kind !== "offset") return { base: at, disp };
    const inner = this.#parts(at.base, disp);
    const { value, scale, constant } = scaledIndex(at.bytes);
    const total = inner.disp + constant;
    if (value === undefined) return { ...inner, disp: total };
    if (inner.index === undefined) return { ...inner, disp: total, index: { value, scale } };
    // A second index: the first one joins the base.
    return { base: partsToPointer(inner), disp: total, index: { value, scale } };
  }

  /** Memory at a pointer. */
  memory(at: Pointer, offset: number): MemoryOperand {
    const { base, disp, index } = this.#parts(at, offset);
    const register = this.integer(base);
    if (index === undefined) return { base: register, scale: 1, disp };
    return { base: register, index: this.integer(index.value), scale: index.scale, disp };
  }

  // Integers.

  #integerOperand(e: Expr): Operand {
    return e.kind === "const" ? { immediate: e.value } : this.integer(e);
  }

  /** The loop outside of which an expression is best computed, from the outermost. */
  #homeOf(e: Expr): number {
    const used: number[] = [];
    if (!this.#collect(e, used)) return this.#loops.length;
    const changes = (loop: OpenLoop) => used.some((index) => loop.sets.has(index));
    return this.#loops.findLastIndex(changes) + 1;
  }

  /** The locals that an integer expression is made of; false where it reads memory or a real. */
  #collect(e: Expr, used: number[]): boolean {
    switch (e.kind) {
      case "const":
        return true;
      case "local": {
        const alias = this.#aliases.get(e.index);
        if (alias !== undefined) return this.#collect(alias, used);
        used.push(e.index);
        return e.type === "ptr" || e.type === "i32";
      }
      case "binary":
        return this.#collect(e.a, used) && this.#collect(e.b, used);
      case "offset":
        return this.#collect(e.base, used) && this.#collect(e.bytes, used);
      case "select":
        return [e.mask, e.a, e.b].every((part) => this.#collect(part, used));
      default:
        return false;
    }
  }

  /** An integer or a pointer in a register, `to` where one is given. */
  integer(e: Expr, to?: Register): Register {
    if (e.kind === "local") {
      const alias = this.#aliases.get(e.index);
      if (alias !== undefined) return this.integer(alias, to);
      if (to === undefined) return this.#locals[e.index];
      this.emit({ op: "move" }, to, this.#locals[e.index]);
      return to;
    }
    const depth = this.#loops.length;
    const home = e.kind === "const" ? depth : this.#homeOf(e);
    if (home < depth) {
      const held = this.#hoist(e, home);
      if (to === undefined) return held;
      this.emit({ op: "move" }, to, held);
      return to;
    }
    return this.#integer(e, to ?? this.register("integer"));
  }

  /** Computes before the loop number `home`, once. */
  #hoist(e: Expr, home: number): Register {
    const { hoisted, before } = this.#loops[home];
    const key = JSON.stringify(e);
    const known = hoisted.get(key);
    if (known !== undefined) return known;
    const [out, loops] = [this.#out, this.#loops];
    this.#out = before;
    this.#loops = loops.slice(0, home);
    const register = this.#integer(e, this.register("integer"));
    this.#out = out;
    this.#loops = loops;
    hoisted.set(key, register);
    return register;
  }

  #integer(e: Expr, to: Register): Register {
    switch (e.kind) {
      case "const":
        this.emit({ op: "move" }, to, { immediate: e.value });
        return to;
      case "load":
        this.emit({ op: "load" }, to, this.memory(e.at, e.offset));
        return to;
      case "unary":
        if (e.op !== "to_i32") break;
        this.emit({ op: "toInteger" }, to, this.vector(e.a));
        return to;
      case "binary":
        return this.#binary(e.op, e.a, e.b, to);
      case "select": {
        const { x, y, test } = this.#comparison(e.mask);
        const [a, b] = [this.integer(e.a), this.integer(e.b)];
        this.emit({ op: "choose", condition: test, of: "integer" }, to, x, y, a, b);
        return to;
      }
      case "offset": {
        const memory = this.memory(e as Pointer, 0);
        if (memory.index === undefined) {
          const by = { immediate: memory.disp };
          this.emit({ op: "integer", fn: "add" }, to, memory.base, by);
        } else this.emit({ op: "address" }, to, memory);
        return to;
      }
    }
    throw new Error(`x64: no ${e.kind} of ${e.type}`);
  }

  #binary(op: BinaryOp, a: Expr, b: Expr, to: Register): Register {
    switch (op) {
      case "lt":
      case "eq":
        if (a.type === "f32") {
          this.emit({ op: "flagReal", fn: op }, to, this.vector(a), this.vector(b));
        } else {
          const [x, y] = [this.integer(a), this.#integerOperand(b)];
          this.emit({ op: "flag", condition: op }, to, x, y);
        }
        return to;
      case "add":
      case "and":
      case "mul": {
        const [x, y] = a.kind === "const" ? [b, a] : [a, b];
        this.emit({ op: "integer", fn: op }, to, this.integer(x), this.#integerOperand(y));
        return to;
      }
      case "sub":
        this.emit({ op: "integer", fn: "sub" }, to, this.integer(a), this.#integerOperand(b));
        return to;
      case "min":
      case "max": {
        // b < a ? b : a, or the other way round.
        const [x, y] = [this.integer(a), this.integer(b)];
        const [first, second] = op === "min" ? [y, x] : [x, y];
        this.emit({ op: "choose", condition: "lt", of: "integer" }, to, first, second, y, x);
        return to;
      }
      case "div":
        return this.#divide(this.integer(a), b, to);
      case "rem": {
        const x = this.integer(a);
        if (b.kind === "const" && isPowerOf2(b.value)) {
          this.emit({ op: "integer", fn: "and" }, to, x, { immediate: b.value - 1 });
          return to;
        }
        const quotient = this.#divide(x, b, this.register("integer"));
        const whole = this.register("integer");
        this.emit({ op: "integer", fn: "mul" }, whole, quotient, this.#integerOperand(b));
        this.emit({ op: "integer", fn: "sub" }, to, x, whole);
        return to;
      }
      default:
        throw new Error(`x64: no ${op} of ${a.type}`);
    }
  }

  /**
   * x / divisor for x in 0 … 2³¹−1 by a multiplication with 2³¹⁺ˡ/divisor, rounded up (Granlund and
   * Montgomery, Division by Invariant Integers using Multiplication).
   */
  #divide(x: Register, divisor: Expr, to: Register): Register {
    if (divisor.kind !== "const" || divisor.value < 1) {
      throw new Error("x64: expected a division by a positive constant");
    }
    const log = Math.ceil(Math.log2(divisor.value));
    if (isPowerOf2(divisor.value)) {
      this.emit({ op: "shift", count: log }, to, x);
      return to;
    }
    const factor = this.register("integer");
    const product = this.register("integer");
    const value = Number(
      (2n ** BigInt(31 + log) + BigInt(divisor.value - 1)) / BigInt(divisor.value),
    );
    this.emit({ op: "move" }, factor, { immediate: value });
    this.emit({ op: "integer", fn: "mul" }, product, x, factor);
    this.emit({ op: "shift", count: 31 + log }, to, product);
    return to;
  }

  // Reals and vectors.

  vector(e: Expr, to?: Register): Register {
    return lowerVector(this, e, to);
  }

  /** A choice of one f32 or another by a condition of integers. */
  chooseReal(condition: Expr, a: Register, b: Register, to: Register): void {
    const { x, y, test } = this.#comparison(condition);
    this.emit({ op: "choose", condition: test, of: "vector" }, to, x, y, a, b);
  }
}

const OPPOSITE = { lt: "ge", ge: "lt", eq: "ne", ne: "eq" } as const satisfies Partial<
  Record<Condition, Condition>
>;

const kindOf = (type: ValueType): RegisterKind =>
  type === "i32" || type === "ptr" ? "integer" : "vector";

/** Bits of a vector type; an f32 is worked on as four lanes. */
export function bitsOf(type: ValueType): Bits {
  if (type === "f32x16") return 512;
  return type === "f32x8" ? 256 : 128;
}

const isPowerOf2 = (value: number) => value > 0 && (value & (value - 1)) === 0;
const isZero = (e: Expr) => e.kind === "const" && e.value === 0;
const isComparison = (e: Expr) => e.kind === "binary" && (e.op === "lt" || e.op === "eq");
const bytesOf = (count: Operand) => (count as { immediate: number }).immediate;

/** value·scale + constant. */
function scaledIndex(
  bytes: Index,
): { value?: Index; scale: 1 | 2 | 4 | 8; constant: number } {
  if (bytes.kind === "const") return { scale: 1, constant: bytes.value };
  if (bytes.kind === "binary") {
    const [a, b] = [bytes.a as Index, bytes.b as Index];
    if ((bytes.op === "add" || bytes.op === "sub") && b.kind === "const") {
      const inner = scaledIndex(a);
      return { ...inner, constant: inner.constant + (bytes.op === "add" ? 1 : -1) * b.value };
    }
    if (bytes.op === "add" && a.kind === "const") {
      const inner = scaledIndex(b);
      return { ...inner, constant: inner.constant + a.value };
    }
    if (bytes.op === "mul" && b.kind === "const") {
      const inner = scaledIndex(a);
      if (inner.value === undefined) return { scale: 1, constant: inner.constant * b.value };
      const constant = inner.constant * b.value;
      const scale = inner.scale * b.value;
      if (scale === 1 || scale === 2 || scale === 4 || scale === 8) {
        return { value: inner.value, scale, constant };
      }
      const value = {
        ...{ kind: "binary", type: "i32", op: "mul", a: inner.value },
        b: { kind: "const", type: "i32", value: scale },
      } as Index;
      return { value, scale: 1, constant };
    }
  }
  return { value: bytes, scale: 1, constant: 0 };
}

/** A pointer with an index as an expression again. */
function partsToPointer({ base, index }: Parts): Pointer {
  const { value, scale } = index!;
  const bytes = scale === 1 ? value : {
    ...{ kind: "binary", type: "i32", op: "mul", a: value },
    b: { kind: "const", type: "i32", value: scale },
  } as Index;
  return { kind: "offset", type: "ptr", base, bytes } as Pointer;
}
