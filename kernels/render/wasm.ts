/**
 * Renders a kernel to the bytes of a WebAssembly module.
 *
 * The module imports one memory, `env.memory`, shared between the workers, and exports the kernel
 * as `run`. Addresses have 32 bits, or 64 where the memory is one of more than 4 GiB. Vectors are
 * SIMD128; `fma` becomes `f32x4.relaxed_madd` where the engine has relaxed SIMD, a multiplication
 * and an addition elsewhere.
 */

import type { BinaryOp, Expr, KernelCode, Load, Statement, UnaryOp, ValueType } from "../syntax.ts";
import { EXP2_SHIFT, HALF_ROOT_BITS, LOWEST_QUANT } from "./bits.ts";
import { eachLoopExpression } from "./walk.ts";
import {
  F32_BINARY,
  f32Bytes,
  F32X4_BINARY,
  I32_BINARY,
  section,
  signed,
  signed64,
  simd,
  text,
  UNARY,
  unsigned,
  valueType,
} from "./wasm_encoding.ts";

/** What the engine at hand offers. */
export interface WasmFeatures {
  readonly relaxedSimd: boolean;
}

/** What addresses are: 32-bit ones reach 4 GiB. */
export type AddressType = "i32" | "i64";

/**
 * The most that a memory can have, in pages of 64 KiB: 4 GiB with 32-bit addresses, and 16 GiB with
 * 64-bit ones, which is the limit of the JavaScript interface of WebAssembly.
 */
export const MAX_PAGES: Readonly<Record<AddressType, number>> = { i32: 65536, i64: 262144 };

/** What the exponent of an f32 counts less than that of an f16, as a factor: 2^(127 − 15). */
const F16_BIAS = 2 ** 112;

/** Appends the code of one kernel body. */
class Writer {
  readonly bytes: number[] = [];
  #features: WasmFeatures;
  #addresses: AddressType;
  #parameters: number;
  #locals: ValueType[];
  /** Locals that hold vector constants, by value. */
  readonly #held = new Map<number, number>();

  constructor(code: KernelCode, features: WasmFeatures, addresses: AddressType) {
    this.#features = features;
    this.#addresses = addresses;
    this.#parameters = code.parameters.length;
    this.#locals = [...code.locals];
  }

  /** All locals after the parameters, scratch ones included. */
  get locals(): readonly ValueType[] {
    return this.#locals;
  }

  #emit(...bytes: readonly number[]): void {
    for (const byte of bytes) this.bytes.push(byte);
  }

  #scratch(type: ValueType): number {
    return this.#parameters + this.#locals.push(type) - 1;
  }

  #address(at: Expr<"ptr">, constantOffset: number): number {
    // Constant parts of an address go into the instruction's immediate.
    if (at.kind === "offset" && at.bytes.kind === "const" && at.bytes.value >= 0) {
      return this.#address(at.base, constantOffset + at.bytes.value);
    }
    this.expression(at);
    return constantOffset;
  }

  expression(e: Expr): void {
    switch (e.kind) {
      case "const":
        if (e.type === "f32x4") this.#vectorConstant(e.value);
        else if (e.type === "f32") this.#emit(0x43, ...f32Bytes(e.value));
        else if (e.type === "ptr" && this.#addresses === "i64") {
          this.#emit(0x42, ...signed64(e.value));
        } else this.#emit(0x41, ...signed(e.value));
        return;
      case "vector":
        this.#emit(...simd(0x0c), ...e.values.flatMap((value) => [...f32Bytes(value)]));
        return;
      case "local":
        this.#emit(0x20, ...unsigned(e.index));
        return;
      case "unary":
        this.#unary(e.op, e.type, e.a);
        return;
      case "binary":
        this.#binary(e.op, e.a, e.b);
        return;
      case "fma":
        this.expression(e.a);
        this.expression(e.b);
        if (e.type === "f32x4" && this.#features.relaxedSimd) {
          this.expression(e.c);
          this.#emit(...simd(0x105));
        } else {
          this.#emit(...(e.type === "f32x4" ? simd(0xe6) : [0x94]));
          this.expression(e.c);
          this.#emit(...(e.type === "f32x4" ? simd(0xe4) : [0x92]));
        }
        return;
      case "load": {
        const at = unsigned(this.#address(e.at, e.offset));
        this.#load(e.as, e.type, at);
        return;
      }
      case "select":
        this.expression(e.a);
        this.expression(e.b);
        this.expression(e.mask);
        this.#emit(...(e.type === "f32x4" ? simd(0x52) : [0x1b]));
        return;
      case "splat":
        this.expression(e.a);
        this.#emit(...simd(0x13));
        return;
      case "lane":
        this.expression(e.a);
        this.#emit(...simd(0x1f), e.lane);
        return;
      case "shuffle":
        this.expression(e.a);
        this.expression(e.b);
        this.#emit(
          ...simd(0x0d),
          ...e.lanes.flatMap((l) => [4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3]),
        );
        return;
      case "dot":
        this.#dot(e);
        return;
      case "quads":
      case "half":
      case "spread":
        throw new Error(`wasm: no ${e.kind} with ${e.type}: vectors have four lanes`);
      case "offset":
        this.expression(e.base);
        this.#bytes(e.bytes);
        this.#emit(this.#addresses === "i64" ? 0x7c : 0x6a);
        return;
      default:
        e satisfies never;
    }
  }

  /** A number of bytes, as wide as addresses are. It is less than 2 GiB, and may be negative. */
  #bytes(e: Expr<"i32">): void {
    if (this.#addresses === "i32") return this.expression(e);
    if (e.kind === "const") return this.#emit(0x42, ...signed64(e.value));
    this.expression(e);
    this.#emit(0xac);
  }

  /** A load from the address on the stack, `at` bytes further. */
  #load(as: Load, type: ValueType, at: readonly number[]): void {
    const wide = type !== "f32";
    switch (as) {
      case "value": {
        const code = type === "i32" ? [0x28] : type === "f32" ? [0x2a] : simd(0x00);
        this.#emit(...code, type === "i32" || type === "f32" ? 2 : 4, ...at);
        return;
      }
      case "splat":
        this.#emit(...simd(0x09), 2, ...at);
        return;
      case "quad":
        this.#emit(...simd(0x00), 4, ...at);
        return;
      case "bf16":
        if (wide) this.#emit(...simd(0x04), 3, ...at, 0x41, 16, ...simd(0xab));
        else this.#emit(0x2f, 1, ...at, 0x41, 16, 0x74, 0xbe);
        return;
      case "f16": {
        // Sign and the other bits moved to their places, then the exponent's bias put right.
        const mask = [0x41, ...signed(0x8fffe000 | 0)];
        if (wide) {
          this.#emit(...simd(0x03), 3, ...at, 0x41, 13, ...simd(0xab));
          this.#emit(...mask, ...simd(0x11), ...simd(0x4e));
          this.#vectorConstant(F16_BIAS);
          this.#emit(...simd(0xe6));
        } else {
          this.#emit(0x2e, 1, ...at, 0x41, 13, 0x74, ...mask, 0x71, 0xbe);
          this.#emit(0x43, ...f32Bytes(F16_BIAS), 0x94);
        }
        return;
      }
      case "i8":
        // Four bytes, widened twice.
        this.#emit(...simd(0x5c), 2, ...at, ...simd(0x87), ...simd(0xa7), ...simd(0xfa));
        return;
      case "u8":
        this.#emit(...simd(0x5c), 2, ...at, ...simd(0x89), ...simd(0xa9));
        return;
      default:
        as satisfies never;
    }
  }

  #vectorConstant(value: number): void {
    const held = this.#held.get(value);
    if (held === undefined) {
      const lane = f32Bytes(value);
      this.#emit(...simd(0x0c), ...lane, ...lane, ...lane, ...lane);
    } else this.#emit(0x20, ...unsigned(held));
  }

  /**
   * V8 builds a vector constant anew, by three instructions, wherever one is written; a local that
   * is set once stays in a register or on the stack. So those that loops use become locals.
   */
  holdConstants(body: readonly Statement[]): void {
    const found = new Set<number>();
    eachLoopExpression(body, false, (e) => {
      if (e.kind === "const" && e.type === "f32x4" && e.value !== 0) found.add(e.value);
      if (e.kind === "unary" && e.op === "bits_to_f32") found.add(EXP2_SHIFT);
      if (e.kind === "load" && e.as === "f16") found.add(F16_BIAS);
      if (e.kind === "unary" && (e.op === "low4" || e.op === "high4")) found.add(LOWEST_QUANT);
    });
    for (const value of found) {
      this.#vectorConstant(value);
      const local = this.#scratch("f32x4");
      this.#emit(0x21, ...unsigned(local));
      this.#held.set(value, local);
    }
  }

  /** Bytes of b are signed; those of a, which have four bits, may be called signed or not. */
  #dot({ a, b, c }: Expr & { kind: "dot" }): void {
    if (this.#features.relaxedSimd) {
      for (const part of [b, a, c]) this.expression(part);
      return this.#emit(...simd(0x113));
    }
    const [x, y] = [a, b].map((part) => {
      const held = unsigned(this.#scratch("f32x4"));
      this.expression(part);
      this.#emit(0x21, ...held);
      return [0x20, ...held];
    });
    // Products of the lower bytes and of the upper ones fit into 16 bits, two of them added as well.
    this.#emit(...x, ...y, ...simd(0x9c), ...x, ...y, ...simd(0x9d), ...simd(0x8e), ...simd(0x7e));
    this.expression(c);
    this.#emit(...simd(0xae));
  }

  #unary(op: UnaryOp, type: ValueType, a: Expr): void {
    this.expression(a);
    switch (op) {
      case "low_nibbles":
        this.#emit(0x41, 15, ...simd(0x0f), ...simd(0x4e));
        return;
      case "unsigned_bytes":
        this.#emit(0x41, ...signed(-128), ...simd(0x0f), ...simd(0x51));
        return;
      case "high_nibbles":
        this.#emit(0x41, 4, ...simd(0x6d));
        return;
      case "bits_to_f32":
        // 2ⁿ: the last bits of n + 1.5·2²³ + 127 are n + 127, which belong into the exponent.
        if (type === "f32x4") {
          this.#vectorConstant(EXP2_SHIFT);
          this.#emit(...simd(0xe4), 0x41, ...signed(23), ...simd(0xab));
        } else {
          this.#emit(0x43, ...f32Bytes(EXP2_SHIFT), 0x92, 0xbc, 0x41, ...signed(23), 0x74, 0xbe);
        }
        return;
      case "low4":
      case "high4":
        if (op === "high4") this.#emit(0x41, 4, ...simd(0xad));
        else this.#emit(0x41, 28, ...simd(0xab), 0x41, 28, ...simd(0xad));
        this.#emit(...simd(0xfa));
        this.#vectorConstant(LOWEST_QUANT);
        this.#emit(...simd(0xe5));
        return;
      case "exponent":
        // (bits − those of √½) >> 23, which is signed.
        if (type === "f32x4") {
          this.#emit(0x41, ...signed(HALF_ROOT_BITS), ...simd(0x11), ...simd(0xb1));
          this.#emit(0x41, ...signed(23), ...simd(0xac), ...simd(0xfa));
        } else {
          this.#emit(0xbc, 0x41, ...signed(HALF_ROOT_BITS), 0x6b, 0x41, ...signed(23), 0x75, 0xb2);
        }
        return;
      case "mantissa":
        // ((bits − those of √½) & the fraction) + those of √½.
        if (type === "f32x4") {
          const root = [0x41, ...signed(HALF_ROOT_BITS), ...simd(0x11)];
          const fraction = [0x41, ...signed(0x7fffff), ...simd(0x11)];
          this.#emit(...root, ...simd(0xb1), ...fraction, ...simd(0x4e), ...root, ...simd(0xae));
        } else {
          const root = [0x41, ...signed(HALF_ROOT_BITS)];
          this.#emit(0xbc, ...root, 0x6b, 0x41, ...signed(0x7fffff), 0x71, ...root, 0x6a, 0xbe);
        }
        return;
    }
    const code = UNARY[op]?.[type];
    if (code === undefined) throw new Error(`wasm: no ${op} of ${type}`);
    this.#emit(...code);
  }

  #binary(op: BinaryOp, a: Expr, b: Expr): void {
    if (a.type !== "f32x4" && (op === "min" || op === "max")) {
      const [x, y] = [this.#scratch(a.type), this.#scratch(a.type)];
      this.expression(a);
      this.#emit(0x21, ...unsigned(x));
      this.expression(b);
      this.#emit(0x22, ...unsigned(y), 0x20, ...unsigned(x));
      const [first, second] = op === "min" ? [y, x] : [x, y];
      this.#emit(0x20, ...unsigned(first), 0x20, ...unsigned(second));
      this.#emit(...(a.type === "f32" ? [0x5d] : [0x48]), 0x1b);
      return;
    }
    this.expression(a);
    this.expression(b);
    const table = a.type === "f32" ? F32_BINARY : a.type === "f32x4" ? F32X4_BINARY : I32_BINARY;
    const code = table[op];
    if (code === undefined) throw new Error(`wasm: no ${op} of ${a.type}`);
    this.#emit(...code);
  }

  statements(list: readonly Statement[]): void {
    for (const statement of list) this.#statement(statement);
  }

  #statement(s: Statement): void {
    switch (s.kind) {
      case "set":
        this.expression(s.value);
        this.#emit(0x21, ...unsigned(s.local.index));
        return;
      case "store": {
        const at = this.#address(s.at, s.offset);
        this.expression(s.value);
        const type = s.value.type;
        if (valueType(type, this.#addresses) === valueType("f32x4", this.#addresses)) {
          this.#emit(...simd(0x0b), 4, ...unsigned(at));
        } else this.#emit(type === "f32" ? 0x38 : 0x36, 2, ...unsigned(at));
        return;
      }
      case "storeBytes": {
        // Narrowed twice, with itself as the other half.
        const held = unsigned(this.#scratch("f32x4"));
        const at = this.#address(s.at, s.offset);
        this.expression(s.value);
        this.#emit(...simd(0xf8), 0x22, ...held, 0x20, ...held, ...simd(0x85), 0x22, ...held);
        this.#emit(0x20, ...held, ...simd(0x65), ...simd(0x5a), 2, ...unsigned(at), 0);
        return;
      }
      case "prefetch":
        return;
      case "zero":
        this.expression(s.at);
        this.#emit(0x41, 0x00);
        this.#bytes(s.bytes);
        this.#emit(0xfc, 0x0b, 0x00);
        return;
      case "copy":
        this.expression(s.to);
        this.expression(s.from);
        this.#bytes(s.bytes);
        this.#emit(0xfc, 0x0a, 0x00, 0x00);
        return;
      case "for": {
        const counter = unsigned(s.counter.index);
        this.expression(s.begin);
        this.#emit(0x21, ...counter);
        let end = s.end;
        if (end.kind !== "const" && end.kind !== "local") {
          const held = this.#scratch("i32");
          this.expression(end);
          this.#emit(0x21, ...unsigned(held));
          end = { kind: "local", type: "i32", index: held };
        }
        const runs = s.begin.kind === "const" && end.kind === "const"
          ? s.begin.value < end.value
          : undefined;
        if (runs === false) return;
        if (runs === undefined) {
          this.#emit(0x20, ...counter);
          this.expression(end);
          this.#emit(0x48, 0x04, 0x40); // if counter < end
        }
        this.#emit(0x03, 0x40); // loop
        this.statements(s.body);
        this.#emit(0x20, ...counter, 0x41, ...signed(s.step), 0x6a, 0x22, ...counter);
        this.expression(end);
        this.#emit(0x48, 0x0d, 0x00, 0x0b); // br_if while counter < end
        if (runs === undefined) this.#emit(0x0b);
        return;
      }
      case "if":
        this.expression(s.condition);
        this.#emit(0x04, 0x40);
        this.statements(s.then);
        if (s.otherwise.length > 0) {
          this.#emit(0x05);
          this.statements(s.otherwise);
        }
        this.#emit(0x0b);
        return;
      case "tile":
        throw new Error("wasm: there are no tiles");
      default:
        s satisfies never;
    }
  }
}

/**
 * Renders a kernel as a WebAssembly module that exports it as `run`, for a memory with addresses of
 * a type.
 */
export function renderWasm(
  code: KernelCode,
  features: WasmFeatures,
  addresses: AddressType,
): Uint8Array<ArrayBuffer> {
  const writer = new Writer(code, features, addresses);
  writer.holdConstants(code.body);
  writer.statements(code.body);
  const locals = writer.locals.flatMap((type) => [1, valueType(type, addresses)]);
  const body = [...unsigned(writer.locals.length), ...locals];
  const size = body.length + writer.bytes.length + 1;
  const parameters = code.parameters.map((type) => valueType(type, addresses));
  const head = [
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [1, 0x60, ...unsigned(parameters.length), ...parameters, 0]),
    ...section(2, [
      1,
      ...text("env"),
      ...text("memory"),
      0x02,
      addresses === "i64" ? 0x07 : 0x03,
      ...unsigned(1),
      ...unsigned(MAX_PAGES[addresses]),
    ]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("run"), 0x00, 0]),
  ];
  const codeHead = [1, ...unsigned(size), ...body];
  const out = [
    ...head,
    10,
    ...unsigned(codeHead.length + writer.bytes.length + 1),
    ...codeHead,
  ];
  const module = new Uint8Array(out.length + writer.bytes.length + 1);
  module.set(out);
  module.set(writer.bytes, out.length);
  module[module.length - 1] = 0x0b;
  return module;
}

/** What this engine offers, found by validating a module that uses it. */
export function wasmFeatures(): WasmFeatures {
  const zero: Expr<"f32x4"> = { kind: "const", type: "f32x4", value: 0 };
  const at: Expr<"ptr"> = { kind: "const", type: "ptr", value: 0 };
  const value: Expr<"f32x4"> = { kind: "fma", type: "f32x4", a: zero, b: zero, c: zero };
  const probe: KernelCode = {
    name: "probe",
    parameters: [],
    locals: [],
    body: [{ kind: "store", at, offset: 0, value }],
  };
  return { relaxedSimd: WebAssembly.validate(renderWasm(probe, { relaxedSimd: true }, "i32")) };
}
