/** Buffers of a WebGPU device, used again once they are free. */

import type { MemoryUse } from "../device.ts";
import { NEEDS_LESS } from "../out_of_memory.ts";
import { countUsage } from "../usage.ts";
import { piece, UNIT, type WebgpuMemory } from "./memory.ts";

/** Free buffers that are kept, in bytes. */
const KEPT_BYTES = 64 * 1024 * 1024;

/** Gives out buffers. */
export interface Buffers {
  allocate(bytes: number): WebgpuMemory;
  free(memory: WebgpuMemory): void;
  memoryUse(): MemoryUse;
  /** Destroys all of them. */
  destroy(): void;
}

/** Buffers of a device. */
export function createBuffers(device: GPUDevice): Buffers {
  const used = countUsage<GPUBuffer>();
  const kept = new Map<number, GPUBuffer[]>();
  let keptBytes = 0;
  return {
    allocate: (bytes) => {
      const size = Math.max(UNIT, Math.ceil(bytes / UNIT) * UNIT);
      const most = device.limits.maxBufferSize;
      if (size > most) {
        throw new RangeError(
          `webgpu: out of memory: ${bytes} bytes wanted, ${used.use().inUse} in use, one buffer has at most ` +
            `${most}; ${NEEDS_LESS}`,
        );
      }
      const known = kept.get(size)?.pop();
      if (known !== undefined) keptBytes -= size;
      const buffer = known ?? device.createBuffer({
        label: `${bytes} bytes`,
        size,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
      });
      used.add(buffer, size);
      return piece(buffer, 0, bytes);
    },
    free: ({ buffer }) => {
      if (!used.remove(buffer)) throw new Error("webgpu: nothing was allocated there");
      if (keptBytes + buffer.size > KEPT_BYTES) return buffer.destroy();
      keptBytes += buffer.size;
      kept.set(buffer.size, [...kept.get(buffer.size) ?? [], buffer]);
    },
    memoryUse: used.use,
    destroy: () => {
      [...used.pieces(), ...[...kept.values()].flat()].forEach((buffer) => buffer.destroy());
      used.pieces().forEach(used.remove);
      kept.clear();
    },
  };
}
