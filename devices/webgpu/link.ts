/** Which buffers a launch binds, and where in them its operands begin. */

import type { GpuKernel } from "../../kernels/gpu/kernel.ts";
import type { Launch } from "../../kernels/program.ts";
import { NEEDS_LESS } from "../out_of_memory.ts";
import type { WebgpuMemory } from "./memory.ts";

/** A range of a buffer, in bytes. */
export interface Binding {
  readonly buffer: GPUBuffer;
  readonly begin: number;
  readonly end: number;
  readonly written: boolean;
}

/** What a launch binds. */
export interface LinkedLaunch {
  readonly bindings: readonly Binding[];
  /** The binding of every operand. */
  readonly of: readonly number[];
  /** The first element of every operand, from the start of its binding. */
  readonly firsts: readonly number[];
}

/** The limits that bindings live within. */
export interface BindingLimits {
  readonly maxStorageBufferBindingSize: number;
  readonly maxStorageBuffersPerShaderStage: number;
  readonly minStorageBufferOffsetAlignment: number;
}

interface Range {
  readonly begin: number;
  readonly end: number;
}

/** The places of one buffer that a launch touches, as ranges that do not overlap. */
function rangesOf(
  touched: readonly Range[],
  limits: BindingLimits,
  refuse: (bytes: number) => never,
): Range[] {
  const { maxStorageBufferBindingSize: most, minStorageBufferOffsetAlignment: step } = limits;
  const aligned = touched.map(({ begin, end }) => ({
    begin: Math.floor(begin / step) * step,
    // Kernels that read 16 bytes at once read what is left of them at the end.
    end: Math.ceil(end / 16) * 16,
  }));
  const ranges: Range[] = [];
  for (const next of aligned.sort((a, b) => a.begin - b.begin)) {
    const last = ranges[ranges.length - 1];
    const whole = last && { begin: last.begin, end: Math.max(last.end, next.end) };
    if (whole !== undefined && (whole.end - whole.begin <= most || next.begin < last.end)) {
      ranges[ranges.length - 1] = whole;
    } else ranges.push(next);
  }
  ranges.forEach(({ begin, end }) => {
    if (end - begin > most) refuse(end - begin);
  });
  return ranges;
}

/**
 * The bindings of a launch: a buffer that several operands lie in is bound once where the limits
 * allow it, and in parts where they do not. Throws where one tensor is larger than a binding may be.
 */
export function linkLaunch(
  { kernel, operands, firstWritten, label }: Launch<GpuKernel>,
  memory: readonly WebgpuMemory[],
  limits: BindingLimits,
): LinkedLaunch {
  const isWritten = (i: number) => i >= firstWritten || (kernel.inPlace?.includes(i) ?? false);
  const rangeOf = (i: number): Range => ({
    begin: memory[i].offset,
    end: memory[i].offset + operands[i].bytes,
  });
  const bindings: Binding[] = [];
  const of = new Array<number>(operands.length);
  for (const buffer of new Set(memory.map((own) => own.buffer))) {
    const own = memory.flatMap((m, i) => m.buffer === buffer ? [i] : []);
    const ranges = rangesOf(own.map(rangeOf), limits, (bytes) => {
      throw new Error(
        `webgpu: ${label}: expected tensors of at most ${limits.maxStorageBufferBindingSize} ` +
          `bytes (this GPU's maxStorageBufferBindingSize), found ${bytes}; ${NEEDS_LESS}`,
      );
    });
    const written = own.some(isWritten);
    for (const i of own) {
      const { begin } = rangeOf(i);
      const at = ranges.findIndex((range) => range.begin <= begin && begin < range.end);
      of[i] = bindings.length + at;
    }
    bindings.push(...ranges.map((range) => ({ buffer, ...range, written })));
  }
  if (bindings.length > limits.maxStorageBuffersPerShaderStage) {
    throw new Error(
      `webgpu: ${label}: expected at most ${limits.maxStorageBuffersPerShaderStage} buffers ` +
        `(this GPU's maxStorageBuffersPerShaderStage), found ${bindings.length}`,
    );
  }
  const firsts = operands.map(({ offset }, i) =>
    (memory[i].offset + offset - bindings[of[i]].begin) / 4
  );
  return { bindings, of, firsts };
}
