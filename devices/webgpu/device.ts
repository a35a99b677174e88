/** The WebGPU device: kernels as WGSL, one command buffer a program. */

import { fittingKernel, type GpuKernel } from "../../kernels/gpu/kernel.ts";
import { joining } from "../../kernels/gpu/joined.ts";
import { GPU_SCHEDULING, gpuKernelsOf } from "../../kernels/gpu/program.ts";
import type { Program } from "../../kernels/program.ts";
import { renderWgsl } from "../../kernels/render/wgsl.ts";
import { checkBindings, memoryAt } from "../bindings.ts";
import { type CompileOptions, compileWith } from "../compile.ts";
import {
  type Bindings,
  checkCopy,
  type Device,
  type Executable,
  type HostArray,
  type Memory,
} from "../device.ts";
import { NEEDS_LESS } from "../out_of_memory.ts";
import { profileRows } from "../profile.ts";
import { openGpu } from "./adapter.ts";
import { createBuffers } from "./buffers.ts";
import { linkLaunch } from "./link.ts";
import { piece, type WebgpuMemory } from "./memory.ts";
import { timePasses } from "./passes.ts";
import { createPipelines, gridOf } from "./pipelines.ts";

/** A launch that is ready. */
interface Ready {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: readonly [number, number];
}

/** What is told of programs, and what kernels use of the GPU. */
export interface WebgpuOptions extends CompileOptions {
  /** Whether threads exchange values by subgroups where the GPU has them; they do by default. */
  readonly subgroups?: boolean;
}

/** Milliseconds in which the loss of a device is told after a read has failed. */
const LOSS_MS = 100;

/** Opens the WebGPU device; throws where there is no GPU. */
export async function openWebgpu(options: WebgpuOptions = {}): Promise<Device> {
  const { device, name, software, subgroups: found } = await openGpu();
  const subgroups = options.subgroups === false ? undefined : found;
  const features = { ...(subgroups !== undefined && { subgroups }) };
  const { queue, limits } = device;

  // Errors arrive later than the calls they are about; the first is thrown by the next call.
  let failure: string | undefined;
  let closing = false;
  const pending = new Set<Promise<unknown>>();
  const fail = (message: string) => void (failure ??= message);
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    fail((event as GPUUncapturedErrorEvent).error.message);
  });
  const lost = device.lost.then(({ message }) => {
    if (closing) return;
    fail(
      `the device was lost: ${message}; its driver gave it up, which work that takes too long or too ` +
        "much memory may lead to; run the command again, a conversion goes on where it was saved",
    );
  });
  const checkAlive = () => {
    if (failure !== undefined) throw new Error(`webgpu: ${failure}`);
  };
  // A GPU does not tell how much is free.
  const adviceOn = (error: GPUError) =>
    error instanceof GPUOutOfMemoryError
      ? `; out of memory with ${buffers.memoryUse().inUse} bytes in use; ${NEEDS_LESS}`
      : "";
  const watch = <T>(what: string, make: () => T): T => {
    device.pushErrorScope("validation");
    device.pushErrorScope("out-of-memory");
    try {
      return make();
    } finally {
      for (let scope = 0; scope < 2; scope++) {
        const seen = device.popErrorScope().then((error) => {
          if (error !== null) fail(`${what}: ${error.message}${adviceOn(error)}`);
        }, (error) => fail(`${what}: ${error}`));
        pending.add(seen);
        seen.finally(() => pending.delete(seen));
      }
    }
  };

  const buffers = createBuffers(device);
  const pipelines = createPipelines(device, features, watch);
  const allocate = (bytes: number) => watch(`${bytes} bytes wanted`, () => buffers.allocate(bytes));

  // Programs run one after another, so they share one arena.
  let arena: WebgpuMemory | undefined;
  let layout = 0;
  const reserve = (bytes: number) => {
    if (bytes <= (arena?.bytes ?? 0)) return;
    const before = arena;
    if (before !== undefined) buffers.free(before);
    arena = undefined;
    layout++;
    try {
      arena = allocate(bytes);
    } catch (error) {
      // Programs that are bound already go on in as much as they had.
      arena = before && allocate(before.bytes);
      throw error;
    }
  };

  const bind = (program: Program<GpuKernel>, bindings: Bindings): Executable => {
    const { launches } = program;
    reserve(program.arenaBytes);
    const step = limits.minUniformBufferOffsetAlignment;
    const sizes = launches.map(({ operands }) => Math.ceil(operands.length / 4) * 16);
    const places: number[] = [];
    let size = 0;
    for (const own of sizes) {
      places.push(size);
      size += Math.ceil(own / step) * step;
    }
    const firsts = device.createBuffer({
      label: "first elements",
      size: Math.max(16, size),
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    let linked = -1;
    let ready: Ready[] = [];
    const link = () => {
      if (linked === layout) return;
      checkBindings<WebgpuMemory>(
        "webgpu",
        program,
        bindings,
        (a, b) => a.buffer === b.buffer && a.offset === b.offset,
      );
      const words = new Uint32Array(size / 4);
      const inArena = (offset: number) => piece(arena!.buffer, offset, 0);
      ready = launches.map((launch, i) => {
        const { label, operands } = launch;
        const memory = operands.map(({ place }) => memoryAt(place, bindings, inArena));
        const own = linkLaunch(launch, memory, limits);
        words.set(own.firsts, places[i] / 4);
        // Bindings begin at multiples of 32 bytes at least.
        const kernel = fittingKernel(launch.kernel, (i) => own.firsts[i] % 4 === 0);
        const made = pipelines.get(kernel, label, own);
        const group = watch(label, () =>
          device.createBindGroup({
            label,
            layout: made.layout,
            entries: [
              { binding: 0, resource: { buffer: firsts, offset: places[i], size: sizes[i] } },
              ...own.bindings.map(({ buffer, begin, end }, b) => ({
                binding: b + 1,
                resource: { buffer, offset: begin, size: end - begin },
              })),
            ],
          }));
        return { pipeline: made.pipeline, group, grid: made.grid };
      });
      if (size > 0) queue.writeBuffer(firsts, 0, words);
      linked = layout;
    };
    const dispatch = (pass: GPUComputePassEncoder, { pipeline, group, grid }: Ready) => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(...grid);
    };
    return {
      flops: launches.reduce((n, { kernel }) => n + kernel.flops, 0),
      arenaBytes: program.arenaBytes,
      run: () => {
        checkAlive();
        link();
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        ready.forEach((launch) => dispatch(pass, launch));
        pass.end();
        queue.submit([encoder.finish()]);
      },
      profile: async () => {
        checkAlive();
        link();
        const works = ready.map((own) => (pass: GPUComputePassEncoder) => dispatch(pass, own));
        return profileRows(program, await timePasses(device, works));
      },
      free: () => firsts.destroy(),
    };
  };

  const hostBytes = (data: HostArray) =>
    new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  return {
    kind: "webgpu",
    description: `webgpu: ${name}${software ? ", which computes on the CPU" : ""}` +
      (subgroups === undefined ? ", without subgroups" : ""),
    allocate,
    memoryUse: buffers.memoryUse,
    free: (memory) => buffers.free(memory as WebgpuMemory),
    write: (memory, data) => {
      checkAlive();
      checkCopy(data, memory, "into");
      const { buffer, offset } = memory as WebgpuMemory;
      const whole = data.byteLength - data.byteLength % 4;
      const bytes = hostBytes(data);
      queue.writeBuffer(buffer, offset, bytes, 0, whole);
      if (whole === data.byteLength) return;
      // Copies are of whole words; what follows a piece's odd end is its own padding.
      const rest = new Uint8Array(4);
      rest.set(bytes.subarray(whole));
      queue.writeBuffer(buffer, offset + whole, rest);
    },
    read: async (memory: Memory, into: HostArray) => {
      checkAlive();
      checkCopy(into, memory, "from");
      const { buffer, offset } = memory as WebgpuMemory;
      const size = Math.ceil(into.byteLength / 4) * 4;
      const staging = device.createBuffer({
        label: "read",
        size,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
      try {
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
        queue.submit([encoder.finish()]);
        const mapped = staging.mapAsync(GPUMapMode.READ).catch(async (error) => {
          // Of a device that is lost this is told first, and says less.
          let timer: ReturnType<typeof setTimeout> | undefined;
          const late = new Promise((told) => timer = setTimeout(told, LOSS_MS));
          await Promise.race([lost, late]);
          clearTimeout(timer);
          fail(String(error));
        });
        await Promise.all([...pending, mapped]);
        checkAlive();
        hostBytes(into).set(new Uint8Array(staging.getMappedRange(), 0, into.byteLength));
      } finally {
        staging.destroy();
      }
    },
    clear: (memory) => {
      checkAlive();
      const { buffer, offset, bytes } = memory as WebgpuMemory;
      const encoder = device.createCommandEncoder();
      encoder.clearBuffer(buffer, offset, Math.ceil(bytes / 4) * 4);
      queue.submit([encoder.finish()]);
    },
    compile: compileWith<GpuKernel>({
      ...{ bind, kernelsOf: gpuKernelsOf },
      // Inputs may lie in buffers of their own; all else is in the arena.
      joining: joining(
        limits.maxStorageBuffersPerShaderStage - 1,
        limits.maxStorageBufferBindingSize,
      ),
      scheduling: GPU_SCHEDULING,
      // As if every operand lay in a buffer of its own.
      code: ({ kernel, operands, firstWritten }) =>
        renderWgsl(kernel.code(), {
          ...features,
          arrays: operands.map((_, i) => i),
          written: operands.map((_, i) => i >= firstWritten || !!kernel.inPlace?.includes(i)),
          grid: gridOf(kernel.groups, limits.maxComputeWorkgroupsPerDimension),
          groups: kernel.groups,
        }),
    }, options),
    close: async () => {
      closing = true;
      await Promise.all(pending);
      buffers.destroy();
      device.destroy();
    },
  };
}
