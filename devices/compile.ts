/** How devices compile tensors, and what they tell of it. */

import { schedule, type ScheduleOptions } from "../graph/schedule.ts";
import type { Schedule, Step } from "../graph/step.ts";
import type { KernelCost } from "../kernels/kernel.ts";
import {
  buildProgram,
  type Joining,
  type Launch,
  type Program,
  type StepKernels,
} from "../kernels/program.ts";
import type { Bindings, Device, Executable } from "./device.ts";

/** A kernel of any device. */
interface NamedKernel extends KernelCost {
  /** Names the code: two kernels with one key are one kernel. */
  readonly key: string;
}

/** What was made of some tensors. */
export interface Compiled {
  readonly name?: string;
  readonly schedule: Schedule;
  readonly program: Program<NamedKernel>;
  /** The code of a launch's kernel, for people. */
  readonly code: (launch: number) => string;
  /** Time of scheduling, and of building and loading the kernels that were new. */
  readonly seconds: number;
}

/** What all devices can be asked for. */
export interface CompileOptions {
  /** Told of everything that is compiled, for DEBUG. */
  readonly onCompile?: (compiled: Compiled) => void;
}

/** How a device makes a program of tensors. */
export interface Compiler<K extends NamedKernel> {
  readonly scheduling: ScheduleOptions;
  kernelsOf(step: Step): StepKernels<K>;
  /** How several steps are done by one kernel, where the device does that. */
  readonly joining?: Joining<K>;
  /** The code of a launch's kernel, for people. */
  code(launch: Launch<K>): string;
  bind(program: Program<K>, bindings: Bindings): Executable;
}

/** A device's `compile`. */
export function compileWith<K extends NamedKernel>(
  { scheduling, kernelsOf, joining, code, bind }: Compiler<K>,
  { onCompile }: CompileOptions,
): Device["compile"] {
  return (results, bindings) => {
    const start = performance.now();
    const steps = schedule(results, scheduling);
    const program = buildProgram(steps, kernelsOf, joining);
    const executable = bind(program, bindings);
    onCompile?.({
      ...(bindings.name !== undefined && { name: bindings.name }),
      schedule: steps,
      program,
      code: (launch) => code(program.launches[launch]),
      seconds: (performance.now() - start) / 1000,
    });
    return executable;
  };
}
