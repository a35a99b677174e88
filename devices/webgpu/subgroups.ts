/** Whether a GPU has the subgroups that kernels count on, and how its WGSL asks for them. */

import { SUBGROUP_SIZES } from "../../kernels/gpu/block.ts";
import type { WgslSubgroups } from "../../kernels/render/wgsl.ts";

/** Threads of a group of the probe, and what each of them tells. */
const THREADS = 256;
const BYTES = 2 * 4 * THREADS;

const probe = (subgroups: WgslSubgroups) =>
  `${subgroups === "enabled" ? "enable subgroups;" : ""}
@group(0) @binding(0) var<storage, read_write> told: array<vec2<u32>>;
@compute @workgroup_size(${THREADS})
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  told[thread] = vec2<u32>(size, subgroupShuffleXor(place, 1u) ^ 1u);
}
`;

/**
 * Whether sizes and places that threads told are those of subgroups of one size, side by side: the
 * first is a power of 2 of threads, from a multiple of it on. WebGPU does not promise it.
 */
export function areSideBySide(told: Uint32Array): boolean {
  const { least, most } = SUBGROUP_SIZES;
  const [size] = told;
  const fits = size >= least && size <= most && (size & (size - 1)) === 0;
  return fits && told.every((word, i) => word === (i % 2 === 0 ? size : (i >> 1) % size));
}

/** What a device says against a module, which is undefined then. */
async function moduleOf(device: GPUDevice, code: string): Promise<GPUShaderModule | undefined> {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  return await device.popErrorScope() === null ? module : undefined;
}

/** How a device that was given subgroups is told of them; undefined where they are no use. */
export async function findSubgroups(device: GPUDevice): Promise<WgslSubgroups | undefined> {
  if (!device.features.has("subgroups")) return undefined;
  for (const subgroups of ["enabled", "undeclared"] as const) {
    const module = await moduleOf(device, probe(subgroups));
    if (module !== undefined) return await isRight(device, module) ? subgroups : undefined;
  }
  return undefined;
}

/** Runs a probe. */
async function isRight(device: GPUDevice, module: GPUShaderModule): Promise<boolean> {
  const compute = { module, entryPoint: "main" };
  const pipeline = device.createComputePipeline({ layout: "auto", compute });
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const told = device.createBuffer({ size: BYTES, usage: STORAGE | COPY_SRC });
  const staging = device.createBuffer({ size: BYTES, usage: MAP_READ | COPY_DST });
  const layout = pipeline.getBindGroupLayout(0);
  const entries = [{ binding: 0, resource: { buffer: told } }];
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(told, 0, staging, 0, BYTES);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const right = areSideBySide(new Uint32Array(staging.getMappedRange()));
  [told, staging].forEach((buffer) => buffer.destroy());
  return right;
}
