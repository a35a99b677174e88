/** What every device offers to training and inference. */

import type { Tensor } from "../graph/tensor.ts";

/** Arrays that can be copied to and from a device. */
export type HostArray = Float32Array | Int32Array | Uint32Array | Uint8Array | Uint16Array;

/**
 * In which numbers a GPU multiplies matrices: f32; or rounded to TF32 as they are read, for tensor
 * cores. Sums and all that is stored are f32.
 */
export const PRODUCT_PRECISIONS = ["f32", "tf32"] as const;

/** One of them. */
export type ProductPrecision = typeof PRODUCT_PRECISIONS[number];

/** A piece of device memory. */
export interface Memory {
  readonly bytes: number;
  /** A part of it, `bytes` long from `offset`. */
  slice(offset: number, bytes: number): Memory;
}

/** How much of a device's memory is used. */
export interface MemoryUse {
  /** Bytes that are allocated, for programs as well. */
  readonly inUse: number;
  /** The most that were at once. */
  readonly peak: number;
}

/** Throws for a part that is not within a piece of memory of so many bytes. */
export function checkPiece(offset: number, length: number, bytes: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= bytes)) {
    throw new RangeError(`memory: ${length} bytes at ${offset} of ${bytes}`);
  }
}

/** Throws for more data than a piece of memory holds. */
export function checkCopy(data: HostArray, memory: Memory, to: "into" | "from"): void {
  if (data.byteLength > memory.bytes) {
    throw new RangeError(`memory: ${data.byteLength} bytes ${to} ${memory.bytes}`);
  }
}

/** The memory that a program's inputs and results live in. */
export interface Bindings {
  readonly inputs: Readonly<Record<string, Memory>>;
  /** One for every tensor that the program computes. */
  readonly results: readonly Memory[];
  /** What the program is part of, and which part: `align: optimizer`. For people. */
  readonly name?: string;
}

/** Time and work of one kind of launch, for DEBUG=2 and the benches. */
export interface ProfileRow {
  /** Its first word is the kind of kernel, the rest the shapes that it writes. */
  readonly label: string;
  readonly launches: number;
  readonly seconds: number;
  readonly flops: number;
  readonly bytes: number;
}

/** A program that is ready to run on its device. */
export interface Executable {
  /** Floating-point operations of one run. */
  readonly flops: number;
  /** Bytes of memory for intermediate results. */
  readonly arenaBytes: number;
  /** Runs once; what it computes is in the memory that it was bound to. */
  run(): void;
  /** Runs once, timing every launch. */
  profile(): Promise<ProfileRow[]>;
  /** Forgets the program. */
  free(): void;
}

/** A device. Work is done in the order of the calls; `read` waits for it. */
export interface Device {
  readonly kind: "cpu" | "webgpu" | "cuda";
  /** Threads, instruction set and libraries, for people. */
  readonly description: string;
  allocate(bytes: number): Memory;
  free(memory: Memory): void;
  write(memory: Memory, data: HostArray): void;
  /** Fills an array from the start of a piece of memory. */
  read(memory: Memory, into: HostArray): Promise<void>;
  memoryUse(): MemoryUse;
  /** Sets every byte to zero. */
  clear(memory: Memory): void;
  /** Prepares the computation of some tensors. */
  compile(results: readonly Tensor[], bindings: Bindings): Executable;
  /** Stops the device's threads and gives its memory back. */
  close(): Promise<void>;
}
