/** Single kernels on the emulated CUDA driver. */

import { assertThrows } from "@std/assert";
import { openContext } from "../../devices/cuda/context.ts";
import { DriverError, openDriver } from "../../devices/cuda/driver.ts";
import { openNvrtc } from "../../devices/cuda/nvrtc.ts";
import type { GpuCode } from "../../kernels/gpu/language.ts";
import { renderCuda } from "../../kernels/render/cuda.ts";
import { cudaEmulator } from "./cuda.ts";

/** Runs a kernel of some blocks on its inputs; gives its one result of so many elements. */
export function runCuda(
  code: GpuCode,
  inputs: readonly Float32Array<ArrayBuffer>[],
  size: number,
  blocks = 1,
): Float32Array {
  const paths = cudaEmulator();
  const driver = openDriver(paths.driver);
  const nvrtc = openNvrtc(paths.nvrtc);
  const context = openContext(driver);
  try {
    const { name, threads } = code;
    const elements = [...inputs.map(({ length }) => length), size];
    const source = renderCuda([{ name, code, elements, label: "a test" }]);
    const { code: image } = nvrtc.compile(source, "test", { kind: "cubin", architecture: 90 });
    const [loaded] = context.load(image, [name]);
    const operands = elements.map((count) => context.allocate(4 * count));
    inputs.forEach(({ buffer }, i) => context.write(operands[i], new Uint8Array(buffer)));
    context.launch({ function: loaded, grid: [blocks, 1, 1], block: [threads, 1, 1], operands });
    const found = new Float32Array(size);
    context.read(operands[inputs.length], new Uint8Array(found.buffer));
    return found;
  } finally {
    context.close();
    nvrtc.close();
    driver.close();
  }
}

/** What the driver says of a kernel that fails. */
export function failureOf(run: () => void): string {
  const { message } = assertThrows(run, DriverError);
  return message.replace(/^cuda: cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED: [^:]*: /, "");
}
