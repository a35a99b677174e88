/** Kernels and programs as they are sent to the threads. */

import type { ExpandedGemm, GemmCall } from "./blas.ts";

/** A kernel as it is sent to the threads. */
export interface KernelText {
  readonly id: number;
  /** Where its WebAssembly module is in device memory, or its machine code in the process. */
  readonly address: number;
  /** Of the module; 0 for machine code. */
  readonly bytes: number;
}

/** One launch as it is sent to the threads. */
export interface LaunchText {
  /** A kernel's number, or a matrix product for the BLAS. */
  readonly kernel: number | GemmCall | ExpandedGemm;
  readonly operands: readonly number[];
  readonly items: number;
  /** Items that a thread takes at a time. */
  readonly grain: number;
  /** Whether the first thread does all of it. */
  readonly alone: boolean;
  /** Whether everything before must be finished first. */
  readonly waits: boolean;
  /** The kernel's preparation, and a number for what it leaves in scratch memory. */
  readonly prepare?: { readonly kernel: number; readonly content: number };
  /** What this launch or the next one that reads much reads first: bytes of so many pieces. */
  readonly ahead?: { readonly address: number; readonly bytes: number; readonly pieces: number };
}

/** A program as it is sent to the threads. */
export interface ProgramText {
  readonly id: number;
  /** Address of one word a launch, from which threads take their items. */
  readonly counters: number;
  readonly launches: readonly LaunchText[];
}
