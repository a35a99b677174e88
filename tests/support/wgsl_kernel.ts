/** Single kernels on a WebGPU device, Deno's or a browser's. */

import type { GpuCode } from "../../kernels/gpu/language.ts";
import { renderWgsl, type WgslSubgroups } from "../../kernels/render/wgsl.ts";

/** The shader module of a kernel of one group that reads one array and writes another. */
export const wgslKernel = (code: GpuCode, subgroups?: WgslSubgroups): string =>
  renderWgsl(code, {
    ...{ arrays: [0, 1], written: [false, true], grid: [1, 1], groups: 1 },
    ...(subgroups !== undefined && { subgroups }),
  });

/** Runs such a module. What is in here is all that it needs, so that it may be sent to a browser. */
export async function runWgsl(code: string, input: number[], size: number): Promise<number[]> {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const requiredFeatures: GPUFeatureName[] = code.includes("subgroup_size") ? ["subgroups"] : [];
  const device = await adapter.requestDevice({ requiredFeatures });
  device.pushErrorScope("validation");
  const compute = { module: device.createShaderModule({ code }), entryPoint: "main" };
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const firsts = device.createBuffer({ size: 16, usage: UNIFORM });
  const from = device.createBuffer({ size: 4 * input.length, usage: STORAGE | COPY_DST });
  device.queue.writeBuffer(from, 0, new Float32Array(input));
  const to = device.createBuffer({ size: 4 * size, usage: STORAGE | COPY_SRC });
  const staging = device.createBuffer({ size: 4 * size, usage: MAP_READ | COPY_DST });
  const { COMPUTE } = GPUShaderStage;
  const types = ["uniform", "read-only-storage", "storage"] as const;
  const layout = device.createBindGroupLayout({
    entries: types.map((type, binding) => ({ binding, visibility: COMPUTE, buffer: { type } })),
  });
  const pipeline = device.createComputePipeline({
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
    compute,
  });
  const error = await device.popErrorScope();
  if (error !== null) throw new Error(error.message);
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = [firsts, from, to].map((buffer, binding) => ({ binding, resource: { buffer } }));
  pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(to, 0, staging, 0, 4 * size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const found = [...new Float32Array(staging.getMappedRange())];
  device.destroy();
  return found;
}
