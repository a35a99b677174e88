/** The code of a kernel while it is written: its bytes, its locals, and what the engine offers. */

import { type Expr, type KernelCode, LANES, type ValueType } from "../../language/syntax.ts";
import { f32Bytes, type Opcode, simd, unsigned, valueType } from "./encoding.ts";

/** What the engine at hand offers. */
export interface WasmFeatures {
  readonly relaxedSimd: boolean;
}

/** What addresses are: 32-bit ones reach 4 GiB. */
export type AddressType = "i32" | "i64";

/** A group of four lanes of a vector. */
export type Quad = 0 | 1;

/** Groups of four lanes of a value, each a value of WebAssembly's; 1 for what is no vector. */
export function quads(type: ValueType): number {
  const count = type in LANES ? LANES[type as keyof typeof LANES] / 4 : 1;
  if (count > 2) throw new Error(`wasm: no ${type}: vectors have at most eight lanes`);
  return count;
}

/** What the code of a kernel is written to. */
export class Output {
  readonly bytes: number[] = [];
  readonly features: WasmFeatures;
  readonly addresses: AddressType;
  readonly #parameters: readonly ValueType[];
  /** The places of the kernel's locals; a vector of eight lanes has two in a row. */
  readonly #places: number[] = [];
  readonly #locals: number[] = [];
  /** Places that hold vector constants, by value. */
  readonly #held = new Map<number, number>();

  constructor(code: KernelCode, features: WasmFeatures, addresses: AddressType) {
    this.features = features;
    this.addresses = addresses;
    this.#parameters = code.parameters;
    code.parameters.forEach((_, i) => this.#places.push(i));
    for (const type of code.locals) {
      this.#places.push(this.#parameters.length + this.#locals.length);
      for (let quad = 0; quad < quads(type); quad++) this.#locals.push(this.#code(type));
    }
  }

  /** Codes of the types of the parameters. */
  get parameters(): readonly number[] {
    return this.#parameters.map((type) => this.#code(type));
  }

  /** Codes of the types of all locals after the parameters. */
  get locals(): readonly number[] {
    return this.#locals;
  }

  #code(type: ValueType): number {
    return valueType(type, this.addresses);
  }

  emit(...bytes: Opcode): void {
    for (const byte of bytes) this.bytes.push(byte);
  }

  /** The place of a new local of one value. */
  scratch(type: ValueType): number {
    return this.#parameters.length + this.#locals.push(this.#code(type)) - 1;
  }

  /** The place of a local, or of a group of its lanes. */
  place(local: Expr & { kind: "local" }, quad: Quad = 0): number {
    // A scratch local is known by its place.
    const { index } = local;
    return index < 0 ? -1 - index : this.#places[index] + quad;
  }

  get(place: number): void {
    this.emit(0x20, ...unsigned(place));
  }

  set(place: number): void {
    this.emit(0x21, ...unsigned(place));
  }

  /** Sets a local and leaves its value. */
  tee(place: number): void {
    this.emit(0x22, ...unsigned(place));
  }

  /** Four lanes of a number. */
  vectorConstant(value: number): void {
    const held = this.#held.get(value);
    if (held !== undefined) return this.get(held);
    const lane = f32Bytes(value);
    this.emit(...simd(0x0c), ...lane, ...lane, ...lane, ...lane);
  }

  /** Keeps four lanes of a number in a local from here on. */
  hold(value: number): void {
    if (this.#held.has(value)) return;
    this.vectorConstant(value);
    const place = this.scratch("f32x4");
    this.set(place);
    this.#held.set(value, place);
  }
}

/** A scratch local as a value. */
export const atPlace = <T extends ValueType>(type: T, place: number): Expr<T> =>
  ({ kind: "local", type, index: -1 - place }) as Expr<T>;
