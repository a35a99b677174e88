/** A schedule as kernels and launches: what a device compiles and runs. */

import { type MemoryPlan, type Place, planMemory } from "../graph/memory.ts";
import type { Schedule, Step } from "../graph/step.ts";
import { describe, type DType, type Shape, type Tensor } from "../graph/tensor.ts";
import { columnsKernel } from "./columns.ts";
import type { Kernel } from "./kernel.ts";
import { loopKernel } from "./loop.ts";
import { matmulKernel } from "./matmul.ts";
import { matmulShape } from "./matmul_shape.ts";
import { isMatvec, matvecKernel } from "./matvec.ts";
import { structuredKernel } from "./structured.ts";

/** The memory of one operand of a launch. */
export interface OperandMemory {
  readonly place: Place;
  /** Bytes from the start of the tensor to the element that the kernel counts from. */
  readonly offset: number;
  /** Bytes of the whole tensor. */
  readonly bytes: number;
}

/** One run of a kernel. */
export interface Launch {
  readonly kernel: Kernel;
  readonly operands: readonly OperandMemory[];
  /** The operands from this index on are written. */
  readonly firstWritten: number;
  /** What it computes, for people. */
  readonly label: string;
}

/** A tensor that comes from outside. */
export interface ProgramInput {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A tensor that was asked for. */
export interface ProgramRoot {
  readonly shape: Shape;
  readonly dtype: DType;
  /** The input that it is written through, whose memory it must share. */
  readonly through?: string;
}

/** Everything a device needs to compute some tensors. */
export interface Program {
  readonly launches: readonly Launch[];
  readonly inputs: readonly ProgramInput[];
  readonly roots: readonly ProgramRoot[];
  readonly arenaBytes: number;
}

/** The kernel of a step and the element offsets of its operands. */
function lower(
  { work, reads, writes }: Step,
  threads: number,
): { kernel: Kernel; offsets: readonly number[] } {
  switch (work.kind) {
    case "loop": {
      const { loop, outputs, folds = [] } = work.body;
      const offsets = [
        ...loop.operands.map((o) => o.offset),
        ...outputs.map((i) => loop.values[i].address.offset),
        ...folds.map(() => 0),
      ];
      return { kernel: loopKernel(work.body), offsets };
    }
    case "columns": {
      const offsets = [...work.reduction.loop.operands.map((o) => o.offset), 0];
      return { kernel: columnsKernel(work.reduction), offsets };
    }
    case "matmul": {
      const { a, b, transposeA, transposeB, epilogue, accumulates } = work;
      const shape = matmulShape(a, b, transposeA, transposeB, reads[1].dtype);
      const own = isMatvec(shape)
        ? matvecKernel(shape, epilogue)
        : matmulKernel(shape, threads, epilogue);
      const kernel = accumulates ? { ...own, matmul: { ...shape, accumulates } } : own;
      const others = epilogue?.loop.operands.filter((_, i) => i !== epilogue.product) ?? [];
      const results = epilogue?.outputs.map((i) => epilogue.loop.values[i].address.offset) ?? [0];
      return { kernel, offsets: [a.offset, b.offset, ...others.map((o) => o.offset), ...results] };
    }
    case "structured": {
      const kernel = structuredKernel(work.node, work.views, writes.length);
      return { kernel, offsets: [...work.views.map((v) => v.offset), ...writes.map(() => 0)] };
    }
    default:
      return work satisfies never;
  }
}

function label(step: Step): string {
  const shape = step.writes.map((t) => `[${t.shape.join(", ")}]`).join(" ");
  const { work } = step;
  const name = work.kind === "structured"
    ? work.node.op.kind
    : work.kind === "matmul" && work.epilogue !== undefined
    ? work.accumulates ? "matmul+=" : "matmul+"
    : work.kind;
  return `${name} ${shape}`;
}

/** Turns a schedule into a program for a number of threads, which does not change its results. */
export function buildProgram(schedule: Schedule, threads: number): Program {
  const memory: MemoryPlan = planMemory(schedule);
  const inputs = new Map<string, ProgramInput>();
  const note = (t: Tensor) => {
    if (t.node.op.kind !== "input") return;
    const { name } = t.node.op;
    const known = inputs.get(name);
    if (known !== undefined && known.shape.join() !== t.shape.join()) {
      throw new Error(`program: two inputs named ${name}: ${describe(t)} and [${known.shape}]`);
    }
    inputs.set(name, { name, shape: t.shape, dtype: t.dtype });
  };
  const launches = schedule.steps.map((step): Launch => {
    step.reads.forEach(note);
    const { kernel, offsets } = lower(step, threads);
    const operands = [...step.reads, ...step.writes].map((t, i): OperandMemory => ({
      place: memory.place(t),
      offset: offsets[i] * 4,
      bytes: memory.bytes(t),
    }));
    return { kernel, operands, firstWritten: step.reads.length, label: label(step) };
  });
  return {
    launches,
    inputs: [...inputs.values()],
    roots: schedule.roots.map((t): ProgramRoot => {
      const place = memory.place(t);
      const through = place.kind === "input" ? { through: place.name } : {};
      return { shape: t.shape, dtype: t.dtype, ...through };
    }),
    arenaBytes: memory.arenaBytes,
  };
}
