/** The emulated CUDA driver (tests/cuda/emulator), built by g++ once for its sources. */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CudaOptions } from "../../devices/cuda/device.ts";

const SOURCES = fileURLToPath(new URL("../cuda/emulator/", import.meta.url));
/** Git-ignored, so that kernels that were compiled once are compiled no more. */
const BUILDS = fileURLToPath(new URL("../../out/cuda_emulator/", import.meta.url));

/** Builds the emulator where it is missing; its driver, its NVRTC and its cuBLASLt are one library. */
export function cudaEmulator(): Required<Omit<CudaOptions, "onCompile" | "products" | "ownFlops">> {
  const names = [...Deno.readDirSync(SOURCES)].map(({ name }) => name).sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(name).update(Deno.readFileSync(join(SOURCES, name)));
  const build = hash.digest("hex").slice(0, 12);
  const folder = join(BUILDS, build);
  const library = join(folder, "libemulator.so");
  try {
    Deno.statSync(library);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    Deno.mkdirSync(folder, { recursive: true });
    // Tests that run at once each build it; the last rename wins, and all are the same.
    const partial = `${library}.${crypto.randomUUID()}.partial`;
    const { success, stderr } = new Deno.Command("g++", {
      args: [
        ...["-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"],
        ...["-fvisibility=hidden", `-DSUTURE_SHIM="${join(SOURCES, "shim.h")}"`],
        ...[`-DSUTURE_BUILD="${build}"`, "-o", partial],
        ...names.filter((name) => name.endsWith(".cpp")).map((name) => join(SOURCES, name)),
      ],
    }).outputSync();
    if (!success) {
      throw new Error(`the emulated driver did not build:\n${new TextDecoder().decode(stderr)}`);
    }
    Deno.renameSync(partial, library);
  }
  return { driver: library, nvrtc: library, cublasLt: library, cache: join(folder, "kernels") };
}
