/** `--device cuda` as commands have it: libraries and the cache by environment variables. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/checkpoint.ts";
import { cudaEmulator } from "../support/cuda.ts";
import { wordsOf } from "../support/task_process.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FIXTURES = fileURLToPath(new URL("../models/fixtures/golden", import.meta.url));

/** Runs one golden case with variables, and with leave to write to a folder as a cache. */
async function golden(
  device: string,
  variables: Readonly<Record<string, string>>,
  ...more: readonly string[]
) {
  const cache = variables.XDG_CACHE_HOME;
  const words = wordsOf("golden").map((word) =>
    word.startsWith("--allow-write=") ? `--allow-write=${cache}/suture` : word
  );
  const output = await new Deno.Command(Deno.execPath(), {
    args: [...words, FIXTURES, "--only", "rad_rwkv7_a", "--device", device, ...more],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...variables },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

Deno.test("--device cuda: libraries by their variables, kernels in the user's cache", async () => {
  using temporary = temporaryFolder();
  const { driver, nvrtc, cublasLt } = cudaEmulator();
  const variables = {
    SUTURE_CUDA_DRIVER: driver,
    SUTURE_CUDA_NVRTC: nvrtc,
    SUTURE_CUDA_CUBLASLT: cublasLt,
    XDG_CACHE_HOME: temporary.folder,
  };
  const kernels = () => [...Deno.readDirSync(`${temporary.folder}/suture/cuda`)].length;
  const first = await golden("cuda", variables);
  assertEquals(first.code, 0, first.stderr);
  assertStringIncludes(first.stderr, "cuda: emulated GPU ");
  assert(/, cuBLASLt [\d.]+ \(f32\)\n/.test(first.stderr), first.stderr);
  assertStringIncludes(first.stdout, "1 of 1 cases pass");
  const stored = kernels();
  assert(stored > 0);
  const second = await golden("auto", variables);
  assertStringIncludes(second.stderr, "--device auto: cuda, because there is an NVIDIA GPU, emul");
  assertStringIncludes(second.stdout, "1 of 1 cases pass");
  assertEquals(kernels(), stored);
  const rounded = await golden("cuda", variables, "--products", "tf32");
  assert(/, cuBLASLt [\d.]+ \(tf32\)\n/.test(rounded.stderr), rounded.stderr);
  assertStringIncludes(rounded.stdout, "1 of 1 cases pass; tolerance of outputs 0.00390625, of gr");
  const own = await golden("cuda", { ...variables, SUTURE_CUDA_CUBLASLT: "none" });
  assertStringIncludes(own.stderr, ", without cuBLASLt (f32)\n");
  assertStringIncludes(own.stdout, "1 of 1 cases pass");
  const wrong = await golden("cuda", variables, "--threads", "2");
  assertStringIncludes(wrong.stderr, "--threads: expected --device cpu, whose it is, found --dev");
});

Deno.test("--device cuda: without a driver an error says what to install", async () => {
  using temporary = temporaryFolder();
  const variables = { SUTURE_CUDA_DRIVER: "/no/such.so", XDG_CACHE_HOME: temporary.folder };
  const { code, stderr } = await golden("cuda", variables);
  assertEquals(code, 2, stderr);
  assertStringIncludes(stderr, "golden: --device: cuda: no NVIDIA driver: tried /no/such.so (");
  assertStringIncludes(stderr, "install the driver of an NVIDIA GPU, version 525 or newer");
});
