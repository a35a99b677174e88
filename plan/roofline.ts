/**
 * The time below which a stage cannot fall on a fleet: of every kernel, its operations at the peak
 * of the units that do them or its bytes at the memory's bandwidth, whichever takes longer (Williams,
 * Waterman and Patterson, "Roofline", 2009). Pure arithmetic over counted kernels.
 *
 * Several devices share what training keeps, as plan/budget.ts has it (FSDP, ZeRO stage 3): for every
 * part of a batch each of them receives the student's weights twice, forward and backward, the
 * teacher's once, and its share of the gradients' sums. A layer is gathered while another one
 * computes, so that only the longer of the two counts.
 */

import { type StageKind, stepsOf } from "../dsl/stages.ts";
import { BYTES, OPTIMIZER, sequences, type StageSize } from "./budget.ts";
import type { ComputeType, DeviceRow, Fleet } from "./fleets.ts";

/** Kinds of kernels: `head` is embedding, head and loss; `pointwise` has the reductions as well. */
const KERNEL_KINDS = ["products", "attention", "wkv", "pointwise", "head"] as const;

/** One of them. */
export type KernelKind = typeof KERNEL_KINDS[number];

/** Equal kernels of a part of a batch as one device computes it. */
export interface CountedKernel {
  /** What it computes, for people. */
  readonly label: string;
  readonly kind: KernelKind;
  /** Which units do most of its operations: those for matrices or those for vectors. */
  readonly unit: "matrix" | "vector";
  /** How many times it runs; a fraction where a few layers stand for all. */
  readonly launches: number;
  /** Operations of one run on average, a multiplication and an addition counting as two. */
  readonly flops: number;
  /** Bytes of one run on average that must at least be read and written, in f32. */
  readonly bytes: number;
}

/** What decides a time. */
export type Bound = "compute" | "memory" | "link";

/** A kernel on a device. */
export interface KernelTime extends CountedKernel {
  /** Of one run. */
  readonly seconds: number;
  readonly bound: Bound;
}

/** All work of a kind in a whole stage. */
export interface WorkTime {
  readonly kind: KernelKind | "optimizer" | "communication";
  /** Operations and bytes of a token, of all devices together, as wide as the fleet computes. */
  readonly flopsPerToken: number;
  readonly bytesPerToken: number;
  /** Of the whole stage; devices work side by side. */
  readonly seconds: number;
  /** What decides most of the time. */
  readonly bound: Bound;
}

/** A stage at the limits of a fleet. */
export interface StageRoofline {
  readonly seconds: number;
  /** Where a run comes as near to that as the paper's did. */
  readonly expected: number;
  /** What decides most of the time. */
  readonly bound: Bound;
  /** By kind. Communication and the kernels run at once, the optimizer after them. */
  readonly work: readonly WorkTime[];
  readonly kernels: readonly KernelTime[];
}

/**
 * The roofline's share of the hours that the paper's runs took, one number a stage, fitted to the
 * hours of the paper on 8 x MI300X (plan/published.ts) by `deno task calibrate`.
 */
export const REACHED: Readonly<Record<StageKind, number>> = Object.freeze({
  align: 0.468,
  distill: 0.737,
  finetune: 0.422,
  pretrain: 0.422,
});

/** A fleet whose peaks are known. */
export type RatedFleet = Fleet & { readonly row: DeviceRow };

/** Whether they are. */
export const isRated = (fleet: Fleet): fleet is RatedFleet => fleet.row !== undefined;

/** AdamW's operations for a parameter, with the gradient's norm, as train/optimizer.ts has them. */
const OPTIMIZER_FLOPS = 18;
/** Times that a part of a batch gathers the weights that gradients pass through. */
const GATHERS = 2;

const sum = (values: readonly number[]): number => values.reduce((total, n) => total + n, 0);

/**
 * FLOP/s of products and attention by the numbers that are multiplied: in bf16 of the best product that
 * was measured, if any was; in f32 of the units for vectors, as in TF32 where others do not.
 */
export function matrixPeak(
  { peak, tf32, products }: DeviceRow,
  numbers: ComputeType | "tf32",
): number {
  switch (numbers) {
    case "bf16":
      return products?.flops ?? peak.bf16;
    case "tf32":
      return tf32 ?? peak.f32;
    case "f32":
      return peak.f32;
    default:
      return numbers satisfies never;
  }
}

/** The longer of computing and moving. */
function longer(compute: number, memory: number): { seconds: number; bound: Bound } {
  return compute < memory
    ? { seconds: memory, bound: "memory" }
    : { seconds: compute, bound: "compute" };
}

/** The time of a kernel on a device; where it computes in bf16, half of what was counted is moved. */
function kernelTime(kernel: CountedKernel, { row, computes }: RatedFleet): KernelTime {
  const peak = kernel.unit === "matrix" ? matrixPeak(row, computes) : row.peak.f32;
  const moved = kernel.bytes * BYTES[computes] / BYTES.f32;
  return { ...kernel, ...longer(kernel.flops / peak, moved / row.bandwidth) };
}

/** What bounds most of the time of some kernels. */
function mostly(kernels: readonly KernelTime[]): Bound {
  const of = (bound: Bound) =>
    sum(kernels.map((k) => k.bound === bound ? k.launches * k.seconds : 0));
  return of("memory") > of("compute") ? "memory" : "compute";
}

/** The kernels of a kind in a whole stage. */
function kernelWork(
  kind: KernelKind,
  all: readonly KernelTime[],
  { stage }: StageSize,
  fleet: RatedFleet,
): WorkTime {
  const kernels = all.filter((kernel) => kernel.kind === kind);
  const total = (of: (kernel: KernelTime) => number) =>
    sum(kernels.map((kernel) => kernel.launches * of(kernel)));
  const tokens = sequences(stage, fleet) * stage.context;
  return {
    kind,
    flopsPerToken: total(({ flops }) => flops) / tokens,
    bytesPerToken: total(({ bytes }) => bytes) * BYTES[fleet.computes] / BYTES.f32 / tokens,
    seconds: stepsOf(stage) * stage.accumulate * total(({ seconds }) => seconds),
    bound: mostly(kernels),
  };
}

/** AdamW over what a stage trains, once a step, each device its share. */
function optimizerWork({ stage, trained }: StageSize, fleet: RatedFleet): WorkTime {
  const { row, computes, devices } = fleet;
  const flops = OPTIMIZER_FLOPS * trained;
  // Moments and weights are read and written; the norm reads the gradient once more.
  const width = BYTES[computes];
  const bytes = (2 * (OPTIMIZER[computes] + width) + width) * trained;
  const { seconds, bound } = longer(flops / row.peak.f32, bytes / row.bandwidth);
  const tokens = stage.batch * stage.context;
  return {
    kind: "optimizer",
    flopsPerToken: flops / tokens,
    bytesPerToken: bytes / tokens,
    seconds: stepsOf(stage) * seconds / devices,
    bound,
  };
}

/** What devices send one another: weights as they are gathered, sums of gradients. */
function communication(size: StageSize, fleet: RatedFleet): WorkTime {
  const { stage, trained, frozen, teacher, usesTeacher } = size;
  const { row: { link, node, network }, devices, computes } = fleet;
  const values = GATHERS * (trained + frozen) + (usesTeacher ? teacher : 0) + trained;
  const whole = BYTES[computes] * values;
  // A device has its own share already, and so has a machine.
  const received = whole * (devices - 1) / devices;
  const machines = Math.ceil(devices / node);
  const between = whole * (machines - 1) / machines / (network * Math.min(node, devices));
  const seconds = Math.max(node === 1 ? 0 : received / link, between);
  return {
    kind: "communication",
    flopsPerToken: 0,
    bytesPerToken: devices * received * stage.accumulate / (stage.batch * stage.context),
    seconds: stepsOf(stage) * stage.accumulate * seconds,
    bound: "link",
  };
}

/**
 * A stage at the limits of a fleet.
 * @param kernels of a part of a batch on one device, as train/stage_kernels.ts counts them
 */
export function stageRoofline(
  size: StageSize,
  kernels: readonly CountedKernel[],
  fleet: RatedFleet,
): StageRoofline {
  const timed = kernels.map((kernel) => kernelTime(kernel, fleet));
  const own = KERNEL_KINDS.map((kind) => kernelWork(kind, timed, size, fleet));
  const [sending, update] = [communication(size, fleet), optimizerWork(size, fleet)];
  const computing = sum(own.map(({ seconds }) => seconds));
  const seconds = Math.max(computing, sending.seconds) + update.seconds;
  return {
    seconds,
    expected: seconds / REACHED[size.stage.kind],
    bound: sending.seconds > computing ? "link" : mostly(timed),
    work: [...own, update, sending].filter(({ seconds }) => seconds > 0),
    kernels: timed,
  };
}
