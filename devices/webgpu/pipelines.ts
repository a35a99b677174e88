/** Kernels as compute pipelines, each made once. */

import type { GpuKernel } from "../../kernels/gpu/kernel.ts";
import type { GpuCode } from "../../kernels/gpu/language.ts";
import { renderWgsl, type WgslLayout } from "../../kernels/render/wgsl.ts";
import type { LinkedLaunch } from "./link.ts";

/** A pipeline, what it binds and how many groups it starts. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly grid: readonly [number, number];
}

/** Makes pipelines. */
export interface Pipelines {
  get(kernel: GpuKernel, label: string, linked: LinkedLaunch): Pipeline;
}

/** So many groups along x and y, of at most `most` each. */
export function gridOf(groups: number, most: number): [number, number] {
  const rows = Math.ceil(groups / most);
  return [Math.ceil(groups / rows), rows];
}

/** Refuses a kernel whose groups share more memory than a GPU has, which not every driver tells. */
export function checkShared({ shared }: Pick<GpuCode, "shared">, label: string, most: number) {
  const bytes = shared.reduce((sum, { size }) => sum + 4 * size, 0);
  if (bytes <= most) return;
  throw new Error(
    `webgpu: ${label}: expected at most ${most} bytes that a group shares (this GPU's ` +
      `maxComputeWorkgroupStorageSize), found ${bytes}, which wide heads take`,
  );
}

/** Pipelines of a device with some features; `watch` is called around the making of each with its name. */
export function createPipelines(
  device: GPUDevice,
  features: Pick<WgslLayout, "subgroups">,
  watch: <T>(what: string, make: () => T) => T,
): Pipelines {
  const layouts = new Map<string, GPUBindGroupLayout>();
  const pipelines = new Map<string, Pipeline>();
  const layoutOf = (written: readonly boolean[]): GPUBindGroupLayout => {
    const key = written.join();
    const known = layouts.get(key);
    if (known !== undefined) return known;
    const entry = (binding: number, type: GPUBufferBindingType) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type },
    });
    const layout = device.createBindGroupLayout({
      entries: [
        entry(0, "uniform"),
        ...written.map((w, b) => entry(b + 1, w ? "storage" : "read-only-storage")),
      ],
    });
    layouts.set(key, layout);
    return layout;
  };
  return {
    get: (kernel, label, { bindings, parts, partBytes, of }) => {
      const written = bindings.map((b) => b.written);
      const key = `${of} ${parts} ${written} ${kernel.key}`;
      const known = pipelines.get(key);
      if (known !== undefined) return known;
      const grid = gridOf(kernel.groups, device.limits.maxComputeWorkgroupsPerDimension);
      const kernelCode = kernel.code();
      checkShared(kernelCode, label, device.limits.maxComputeWorkgroupStorageSize);
      const code = renderWgsl(kernelCode, {
        ...features,
        ...{ arrays: of, parts, partWords: partBytes / 4, written, grid, groups: kernel.groups },
      });
      const layout = layoutOf(written);
      const made = watch(label, () => ({
        pipeline: device.createComputePipeline({
          label,
          layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
          compute: { module: device.createShaderModule({ label, code }), entryPoint: "main" },
        }),
        ...{ layout, grid },
      }));
      pipelines.set(key, made);
      return made;
    },
  };
}
