/** Pieces of WebGPU buffers. */

import { checkPiece, type Memory } from "../device.ts";

/** Bytes that kernels read at once: buffers and bindings have so many, or a multiple of them. */
export const UNIT = 16;

/** A piece of a buffer, in bytes from its start. */
export interface WebgpuMemory extends Memory {
  readonly buffer: GPUBuffer;
  readonly offset: number;
}

/** A piece of a buffer. */
export function piece(buffer: GPUBuffer, offset: number, bytes: number): WebgpuMemory {
  return {
    ...{ buffer, offset, bytes },
    slice: (from, length) => {
      checkPiece(from, length, bytes);
      return piece(buffer, offset + from, length);
    },
  };
}
