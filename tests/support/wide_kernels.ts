/**
 * Compiles a kernel of every kind for vectors of eight lanes. V8's own trace shows what becomes of
 * them (tests/kernels/wasm/wide_test.ts).
 */

import { renderWasm, wasmCode, wasmFeatures } from "../../kernels/render/wasm.ts";
import { KERNELS } from "./kernel_kinds.ts";

if (import.meta.main) {
  for (const [name, { code }] of Object.entries(KERNELS)) {
    // WebAssembly has no tiles.
    if (name.startsWith("tiles")) continue;
    console.log(`kernel ${name}`);
    new WebAssembly.Module(renderWasm(wasmCode(code, 8), wasmFeatures(), "i32"));
  }
}
