/** Every golden case on the CUDA device, on the emulated driver. */

import { withCuda } from "../support/devices.ts";
import { assertGolden, goldenFolders } from "../support/golden.ts";

for (const each of goldenFolders) {
  Deno.test(`golden: every case of ${each.from} passes on cuda`, async () => {
    await withCuda((device) => assertGolden(device, each));
  });
}

/** Of every kind of block, and the models with the largest errors. */
const ROUNDED =
  /^(wkv7_n12|qwen2_attention_n16|rad_rwkv7_b|rad_rwkv6_e|tiny-llama-yarn|tiny-mistral)$/;

Deno.test("golden: cases of every kind pass on cuda in TF32, within its tolerances", async () => {
  const options = { products: "tf32", cublasLt: "none" } as const;
  await withCuda(
    (device) => assertGolden(device, goldenFolders[1], { only: ROUNDED, products: "tf32" }),
    options,
  );
});
