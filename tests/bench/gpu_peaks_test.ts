import { assert, assertEquals } from "@std/assert";
import { datasheetOf, measureGpuPeaks } from "../../bench/gpu_peaks.ts";
import { withCuda, withWebgpu } from "../support/devices.ts";

const SMALL = { side: 128, bytes: 1 << 18, seconds: 0 };

for (const [name, withGpu] of [["webgpu", withWebgpu], ["cuda", withCuda]] as const) {
  Deno.test(`peaks of a GPU: ${name}, at sizes that grow until one takes a while`, async () => {
    const peaks = await withGpu((device) => measureGpuPeaks(device, SMALL));
    assert(peaks.device.startsWith(`${name}: `));
    for (const value of [peaks.fmaGflops, peaks.productGflops, peaks.readGBs, peaks.copyGBs]) {
      assert(value > 0 && value < 1e6, `${value}`);
    }
    assert(peaks.machineGflops >= Math.max(peaks.fmaGflops, peaks.productGflops));
    assert(peaks.machineGBs >= Math.max(peaks.readGBs, peaks.copyGBs));
  });
}

Deno.test("peaks of a GPU: what its maker states, by its name", () => {
  const names = [
    ["cuda: NVIDIA H100 80GB HBM3, sm_90, driver 13.0, NVRTC 13.0", "H100"],
    ["cuda: NVIDIA A100-SXM4-80GB, sm_80, driver 12.4, NVRTC 12.4", "A100"],
    ["webgpu: NVIDIA GeForce RTX 4090", "RTX 4090"],
    ["webgpu: Apple M4 Max", "M4 Max"],
    ["cuda: NVIDIA H100 PCIe, sm_90, driver 13.0, NVRTC 13.0", undefined],
    ["cuda: NVIDIA GeForce RTX 4090 Laptop GPU, sm_89", undefined],
    ["cuda: NVIDIA GeForce RTX 4090 D, sm_89", undefined],
    ["webgpu: llvmpipe (LLVM 15.0.6, 256 bits), which computes on the CPU", undefined],
  ] as const;
  for (const [description, name] of names) assertEquals(datasheetOf(description)?.name, name);
});
