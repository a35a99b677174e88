/**
 * Compiles a kernel of every kind for vectors of eight lanes. V8's own trace shows what becomes of
 * them (tests/kernels/render/wasm/wide_test.ts).
 */

import { renderWasm, wasmCode, wasmFeatures } from "../../kernels/render/wasm.ts";
import { KERNELS } from "./kernel_kinds.ts";

if (import.meta.main) {
  for (const [name, { code }] of Object.entries(KERNELS)) {
    // WebAssembly has no tiles.
    if (name.startsWith("tiles")) continue;
    for (const addresses of ["i32", "i64"] as const) {
      console.log(`kernel ${name} ${addresses}`);
      new WebAssembly.Module(renderWasm(wasmCode(code, 8), wasmFeatures(), addresses));
    }
  }
}
