/** Which buffers a launch binds, and where in them its operands begin. */

import type { GpuKernel } from "../../kernels/gpu/kernel.ts";
import type { Launch } from "../../kernels/program.ts";
import { NEEDS_LESS } from "../out_of_memory.ts";
import { UNIT, type WebgpuMemory } from "./memory.ts";

/** A range of a buffer, in bytes. */
export interface Binding {
  readonly buffer: GPUBuffer;
  readonly begin: number;
  readonly end: number;
  readonly written: boolean;
}

/** What a launch binds. */
export interface LinkedLaunch {
  /** Those of one array after another. */
  readonly bindings: readonly Binding[];
  /** How many bindings make up each array: several where it is larger than one may be. */
  readonly parts: readonly number[];
  /** Bytes of a part of an array with several, but for its last. */
  readonly partBytes: number;
  /** The array of every operand. */
  readonly of: readonly number[];
  /** The first element of every operand, from the start of its array. */
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

/** The most bytes of a binding after which another one may begin. */
function partBytesOf(limits: BindingLimits): number {
  const { maxStorageBufferBindingSize: most, minStorageBufferOffsetAlignment: step } = limits;
  return Math.floor(most / Math.max(step, UNIT)) * Math.max(step, UNIT);
}

/**
 * The places of one buffer that a launch touches, as ranges that do not overlap: as few as bindings
 * of the largest size can be, and larger ones where a tensor is.
 */
function rangesOf(touched: readonly Range[], limits: BindingLimits): Range[] {
  const { maxStorageBufferBindingSize: most, minStorageBufferOffsetAlignment: step } = limits;
  const aligned = touched.map(({ begin, end }) => ({
    begin: Math.floor(begin / step) * step,
    // Kernels that read 16 bytes at once read what is left of them at the end.
    end: Math.ceil(end / UNIT) * UNIT,
  }));
  const ranges: Range[] = [];
  for (const next of aligned.sort((a, b) => a.begin - b.begin)) {
    const last = ranges[ranges.length - 1];
    const whole = last && { begin: last.begin, end: Math.max(last.end, next.end) };
    if (whole !== undefined && (whole.end - whole.begin <= most || next.begin < last.end)) {
      ranges[ranges.length - 1] = whole;
    } else ranges.push(next);
  }
  return ranges;
}

/**
 * The bindings of a launch: a buffer that several operands lie in is bound once where the limits
 * allow it, and in parts where they do not, of which a tensor may take several.
 * @throws Error where there are more bindings than the GPU has.
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
  const partBytes = partBytesOf(limits);
  const bindings: Binding[] = [];
  const parts: number[] = [];
  const of = new Array<number>(operands.length);
  const begins = new Array<number>(operands.length);
  for (const buffer of new Set(memory.map((own) => own.buffer))) {
    const own = memory.flatMap((m, i) => m.buffer === buffer ? [i] : []);
    const ranges = rangesOf(own.map(rangeOf), limits);
    const written = own.some(isWritten);
    for (const i of own) {
      const { begin } = rangeOf(i);
      const at = ranges.findIndex((range) => range.begin <= begin && begin < range.end);
      of[i] = parts.length + at;
      begins[i] = ranges[at].begin;
    }
    for (const { begin, end } of ranges) {
      const count = end - begin <= limits.maxStorageBufferBindingSize
        ? 1
        : Math.ceil((end - begin) / partBytes);
      parts.push(count);
      for (let part = 0; part < count; part++) {
        const from = begin + part * partBytes;
        const to = part + 1 === count ? end : from + partBytes;
        bindings.push({ buffer, begin: from, end: to, written });
      }
    }
  }
  if (bindings.length > limits.maxStorageBuffersPerShaderStage) {
    const larger = parts.some((count) => count > 1)
      ? `, as tensors are larger than its maxStorageBufferBindingSize; ${NEEDS_LESS}`
      : "";
    throw new Error(
      `webgpu: ${label}: expected at most ${limits.maxStorageBuffersPerShaderStage} buffers ` +
        `(this GPU's maxStorageBuffersPerShaderStage), found ${bindings.length}${larger}`,
    );
  }
  const firsts = operands.map(({ offset }, i) => (memory[i].offset + offset - begins[i]) / 4);
  return { bindings, parts, partBytes, of, firsts };
}
