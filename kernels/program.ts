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
import { tileMatmulKernel } from "./tile_matmul.ts";
import { suitsTiles } from "./tile_matmul_shape.ts";

/** The memory of one operand of a launch. */
export interface OperandMemory {
  readonly place: Place;
  /** Bytes from the start of the tensor to the element that the kernel counts from. */
  readonly offset: number;
  /** Bytes of the whole tensor. */
  readonly bytes: number;
}

/** One run of a kernel. */
export interface Launch<K = Kernel> {
  readonly kernel: K;
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

/** A kernel of a step, and what it works on. */
export interface StepKernel<K> {
  readonly kernel: K;
  /** The step's operands by number, reads before writes; beyond them, the pieces of scratch memory. */
  readonly operands: readonly number[];
  /** The operands from this index on are written. */
  readonly firstWritten: number;
  /** Its part of the step's work, for people; nothing where it does all. */
  readonly part?: string;
}

/** The kernels that do a step, one after another. */
export interface StepKernels<K> {
  readonly kernels: readonly StepKernel<K>[];
  /** Bytes of each piece of memory that lives only as long as the step. */
  readonly scratch: readonly number[];
}

/** A step that one kernel does. */
export function oneKernel<K>({ reads, writes }: Step, kernel: K): StepKernels<K> {
  const operands = Array.from({ length: reads.length + writes.length }, (_, i) => i);
  return { kernels: [{ kernel, operands, firstWritten: reads.length }], scratch: [] };
}

/** Everything a device needs to compute some tensors. */
export interface Program<K = Kernel> {
  readonly launches: readonly Launch<K>[];
  readonly inputs: readonly ProgramInput[];
  readonly roots: readonly ProgramRoot[];
  readonly arenaBytes: number;
}

/** What kernels are made for. */
export interface CpuTarget {
  readonly threads: number;
  /** Whether it multiplies tiles of bf16. */
  readonly tiles: boolean;
}

/** The CPU's kernel of a step; the number of threads does not change its results. */
export function cpuKernel({ work, reads, writes }: Step, { threads, tiles }: CpuTarget): Kernel {
  switch (work.kind) {
    case "loop":
      return loopKernel(work.body);
    case "columns":
      return columnsKernel(work.reduction);
    case "matmul": {
      const { a, b, transposeA, transposeB, epilogue, accumulates } = work;
      const shape = matmulShape(a, b, transposeA, transposeB, reads[1].dtype);
      if (tiles && suitsTiles(shape)) return tileMatmulKernel(shape, threads, epilogue);
      const own = isMatvec(shape)
        ? matvecKernel(shape, epilogue)
        : matmulKernel(shape, threads, epilogue);
      return accumulates ? { ...own, matmul: { ...shape, accumulates } } : own;
    }
    case "structured":
      return structuredKernel(work.node, work.views, writes.length);
    default:
      return work satisfies never;
  }
}

/** The elements that a step's kernel counts from, for every operand. */
function operandOffsets({ work, writes }: Step): readonly number[] {
  switch (work.kind) {
    case "loop": {
      const { loop, outputs, folds = [] } = work.body;
      return [
        ...loop.operands.map((o) => o.offset),
        ...outputs.map((i) => loop.values[i].address.offset),
        ...folds.map(() => 0),
      ];
    }
    case "columns":
      return [...work.reduction.loop.operands.map((o) => o.offset), 0];
    case "matmul": {
      const { a, b, epilogue } = work;
      const others = epilogue?.loop.operands.filter((_, i) => i !== epilogue.product) ?? [];
      const results = epilogue?.outputs.map((i) => epilogue.loop.values[i].address.offset) ?? [0];
      return [a.offset, b.offset, ...others.map((o) => o.offset), ...results];
    }
    case "structured":
      return [...work.views.map((v) => v.offset), ...writes.map(() => 0)];
    default:
      return work satisfies never;
  }
}

function label(step: Step, part?: string): string {
  const shape = step.writes.map((t) => `[${t.shape.join(", ")}]`).join(" ");
  const { work } = step;
  const name = work.kind === "structured"
    ? work.node.op.kind
    : work.kind === "matmul" && work.epilogue !== undefined
    ? work.accumulates ? "matmul+=" : "matmul+"
    : work.kind;
  return `${part === undefined ? name : `${name}/${part}`} ${shape}`;
}

/** Turns a schedule into a program of the kernels that a device has for its steps. */
export function buildProgram<K>(
  schedule: Schedule,
  kernelsOf: (step: Step) => StepKernels<K>,
): Program<K> {
  const work = schedule.steps.map(kernelsOf);
  const memory: MemoryPlan = planMemory(schedule, work.map(({ scratch }) => scratch));
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
  const launches = schedule.steps.flatMap((step, at): Launch<K>[] => {
    step.reads.forEach(note);
    const offsets = operandOffsets(step);
    const all = [
      ...[...step.reads, ...step.writes].map((t, i): OperandMemory => ({
        place: memory.place(t),
        offset: offsets[i] * 4,
        bytes: memory.bytes(t),
      })),
      ...work[at].scratch.map((bytes, i) => ({ place: memory.scratch(at, i), offset: 0, bytes })),
    ];
    return work[at].kernels.map(({ kernel, operands, firstWritten, part }) => ({
      kernel,
      operands: operands.map((i) => all[i]),
      firstWritten,
      label: label(step, part),
    }));
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
