/** Buffers of a WebGPU device, used again once they are free. */

import { piece, type WebgpuMemory } from "./memory.ts";

/** Free buffers that are kept, in bytes. */
const KEPT_BYTES = 64 * 1024 * 1024;

/** Gives out buffers. */
export interface Buffers {
  allocate(bytes: number): WebgpuMemory;
  free(memory: WebgpuMemory): void;
  /** Destroys all of them. */
  destroy(): void;
}

/** Buffers of a device. */
export function createBuffers(device: GPUDevice): Buffers {
  const used = new Set<GPUBuffer>();
  const kept = new Map<number, GPUBuffer[]>();
  let keptBytes = 0;
  const inUse = () => [...used].reduce((sum, { size }) => sum + size, 0);
  return {
    allocate: (bytes) => {
      const size = Math.max(4, Math.ceil(bytes / 4) * 4);
      const most = device.limits.maxBufferSize;
      if (size > most) {
        throw new RangeError(
          `webgpu: out of memory: ${bytes} bytes wanted, ${inUse()} in use, one buffer has at most ` +
            `${most}; a shorter context, accumulation or rematerialisation need less`,
        );
      }
      const known = kept.get(size)?.pop();
      if (known !== undefined) keptBytes -= size;
      const buffer = known ?? device.createBuffer({
        label: `${bytes} bytes`,
        size,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
      });
      used.add(buffer);
      return piece(buffer, 0, bytes);
    },
    free: ({ buffer }) => {
      if (!used.delete(buffer)) throw new Error("webgpu: nothing was allocated there");
      if (keptBytes + buffer.size > KEPT_BYTES) return buffer.destroy();
      keptBytes += buffer.size;
      kept.set(buffer.size, [...kept.get(buffer.size) ?? [], buffer]);
    },
    destroy: () => {
      [...used, ...[...kept.values()].flat()].forEach((buffer) => buffer.destroy());
      used.clear();
      kept.clear();
    },
  };
}
