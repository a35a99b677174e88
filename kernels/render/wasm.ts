/**
 * Renders a kernel to the bytes of a WebAssembly module.
 *
 * The module imports one memory, `env.memory`, shared between the workers, and exports the kernel
 * as `run`. Addresses have 32 bits, or 64 where the memory is one of more than 4 GiB. Vectors are
 * SIMD128, those of eight lanes pairs of them (wasm/pairs.ts); `fma` becomes `f32x4.relaxed_madd`
 * where the engine has relaxed SIMD, a multiplication and an addition elsewhere.
 */

import type { Expr, KernelCode, Lanes } from "../language/syntax.ts";
import { section, text, unsigned } from "./wasm/encoding.ts";
import { type AddressType, Output, type WasmFeatures } from "./wasm/output.ts";
import { storesPairs } from "./wasm/pairs.ts";
import { writeBody } from "./wasm/statements.ts";

export type { AddressType, WasmFeatures };

/**
 * The most that a memory can have, in pages of 64 KiB: 4 GiB with 32-bit addresses, and 16 GiB with
 * 64-bit ones, which is the limit of the JavaScript interface of WebAssembly.
 */
export const MAX_PAGES: Readonly<Record<AddressType, number>> = { i32: 65536, i64: 262144 };

/** A kernel for vectors of so many lanes; of four where there is nothing that V8 widens. */
export function wasmCode(code: (lanes: Lanes) => KernelCode, lanes: Lanes): KernelCode {
  const built = code(lanes);
  return lanes === 4 || storesPairs(built.body) ? built : code(4);
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
  const output = new Output(code, features, addresses);
  writeBody(output, code.body);
  const { parameters, bytes } = output;
  const locals = output.locals.flatMap((type) => [1, type]);
  const body = [...unsigned(output.locals.length), ...locals];
  const size = body.length + bytes.length + 1;
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
    ...unsigned(codeHead.length + bytes.length + 1),
    ...codeHead,
  ];
  const module = new Uint8Array(out.length + bytes.length + 1);
  module.set(out);
  module.set(bytes, out.length);
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
