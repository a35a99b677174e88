/** A schedule as kernels and launches: what a device compiles and runs. */

import { type MemoryPlan, type Place, planMemory } from "../graph/memory.ts";
import type { Schedule, Step } from "../graph/step.ts";
import { describe, type DType, type Shape, type Tensor } from "../graph/tensor.ts";
import { columnsKernel } from "./loops/columns.ts";
import type { Kernel } from "./kernel.ts";
import { loopKernel } from "./loops/loop.ts";
import { matmulKernel } from "./matmul/matmul.ts";
import { matmulShape, suitsLibrary } from "./matmul/shape.ts";
import { isMatvec, matvecKernel } from "./matvec/matvec.ts";
import { structuredKernel } from "./structured.ts";
import { tileMatmulKernel } from "./matmul/tiles/matmul.ts";
import { suitsTiles } from "./matmul/tiles/shape.ts";

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
export function oneKernel<K>(
  { reads, writes }: Pick<Step, "reads" | "writes">,
  kernel: K,
): StepKernels<K> {
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
  /** Whether its vectors have 16 lanes, with which most products are ours and not a library's. */
  readonly wide: boolean;
  /** Whether it multiplies bytes of 0 … 255 by signed ones exactly (AVX-512 VNNI). */
  readonly dots: boolean;
}

/** The CPU's kernel of a step; the number of threads does not change its results. */
export function cpuKernel(
  { work, reads, writes }: Step,
  { threads, tiles, wide, dots }: CpuTarget,
): Kernel {
  switch (work.kind) {
    case "loop":
      return loopKernel(work.body);
    case "columns":
      return columnsKernel(work.reduction);
    case "matmul": {
      const { a, b, transposeA, transposeB, epilogue, accumulates } = work;
      const shape = matmulShape(a, b, transposeA, transposeB, reads[1].dtype);
      if (tiles && suitsTiles(shape)) return tileMatmulKernel(shape, threads, epilogue);
      const isVector = isMatvec(shape);
      const own = isVector
        ? matvecKernel(shape, epilogue, dots)
        : matmulKernel(shape, threads, epilogue);
      if (wide && !isVector && !suitsLibrary(shape)) return { ...own, matmul: undefined };
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

/** What the steps of a stage read, then what they write, each with where its kernel counts from. */
function stageOffsets(steps: readonly Step[]): (readonly [Tensor, number])[] {
  const offsets = steps.map(operandOffsets);
  return [
    ...steps.flatMap(({ reads }, s) => reads.map((t, i) => [t, offsets[s][i]] as const)),
    ...steps.flatMap(({ reads, writes }, s) =>
      writes.map((t, i) => [t, offsets[s][reads.length + i]] as const)
    ),
  ];
}

const shapesOf = (tensors: readonly Tensor[]) =>
  tensors.map((t) => `[${t.shape.join(", ")}]`).join(" ");

function label(step: Step, part?: string): string {
  const shape = shapesOf(step.writes);
  const { work } = step;
  const name = work.kind === "structured"
    ? work.node.op.kind
    : work.kind === "matmul" && work.epilogue !== undefined
    ? work.accumulates ? "matmul+=" : "matmul+"
    : work.kind;
  return `${part === undefined ? name : `${name}/${part}`} ${shape}`;
}

/** How a device does several steps by one kernel. */
export interface Joining<K> {
  /** The numbers of the steps of every stage; those of a stage with several have one kernel each. */
  stages(
    schedule: Schedule,
    work: readonly StepKernels<K>[],
  ): readonly (readonly number[])[];
  /** One kernel for those of several steps: its operands are all their reads, then all their writes. */
  kernel(parts: readonly StepKernel<K>[]): K;
}

/** Steps that are done together. */
interface Stage<K> {
  readonly steps: readonly Step[];
  readonly reads: readonly Tensor[];
  readonly writes: readonly Tensor[];
  readonly work: StepKernels<K>;
}

function stagesOf<K>(
  schedule: Schedule,
  work: readonly StepKernels<K>[],
  joining?: Joining<K>,
): Stage<K>[] {
  const { steps } = schedule;
  const numbers = joining?.stages(schedule, work) ?? steps.map((_, i) => [i]);
  return numbers.map((own): Stage<K> => {
    const together = own.map((i) => steps[i]);
    const [reads, writes] = (["reads", "writes"] as const).map((side) =>
      together.flatMap((step) => step[side])
    );
    const stage = { steps: together, reads, writes };
    if (own.length === 1) return { ...stage, work: work[own[0]] };
    const kernel = joining!.kernel(own.map((i) => work[i].kernels[0]));
    return { ...stage, work: oneKernel(stage, kernel) };
  });
}

/** Turns a schedule into a program of the kernels that a device has for its steps. */
export function buildProgram<K>(
  schedule: Schedule,
  kernelsOf: (step: Step) => StepKernels<K>,
  joining?: Joining<K>,
): Program<K> {
  const stages = stagesOf(schedule, schedule.steps.map((step) => kernelsOf(step)), joining);
  const { roots, partOf } = schedule;
  const memory: MemoryPlan = planMemory(
    { steps: stages, roots, partOf },
    stages.map(({ work }) => work.scratch),
  );
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
  const launches = stages.flatMap(({ steps, reads, writes, work }, at): Launch<K>[] => {
    reads.forEach(note);
    const all = [
      ...stageOffsets(steps).map(([t, offset]): OperandMemory => ({
        place: memory.place(t),
        offset: offset * 4,
        bytes: memory.bytes(t),
      })),
      ...work.scratch.map((bytes, i) => ({ place: memory.scratch(at, i), offset: 0, bytes })),
    ];
    return work.kernels.map(({ kernel, operands, firstWritten, part }) => ({
      kernel,
      operands: operands.map((i) => all[i]),
      firstWritten,
      label: steps.length === 1 ? label(steps[0], part) : `joined ${shapesOf(writes)}`,
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
