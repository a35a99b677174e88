/** `deno task memory`: what a training step takes of this machine, beside what a plan says. */

import { benchMemory, benchStage, type MemoryBenchOptions } from "../bench/memory.ts";
import {
  BENCH_MIXERS,
  type BenchMixer,
  benchModels,
  type ShapeName,
  SHAPES,
} from "../bench/shapes.ts";
import { stageMemory, THIS_MACHINE } from "../plan/budget.ts";
import { memoryBound } from "../train/memory_need.ts";
import { machineReport } from "../train/machine.ts";
import { stageSize } from "../train/stage_size.ts";
import { command, main } from "./command/command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { absent, choice, optional, toggle, UsageError, whole } from "./command/flags.ts";
import { residualText } from "./plan/text.ts";
import { bytesText, table } from "./terminal/table.ts";

const FLAGS = {
  shape: optional(choice("model", Object.keys(SHAPES) as ShapeName[]), "tiny"),
  mixer: optional(
    choice("mixer of the student", Object.keys(BENCH_MIXERS) as BenchMixer[]),
    "rwkv7",
  ),
  stage: optional(choice("stage", ["1", "2", "3"]), "2"),
  context: absent(whole("tokens of a sequence", 16), "the shape's"),
  batch: absent(whole("sequences of a step", 1), "the shape's"),
  accumulate: optional(whole("parts of a batch", 1), 1),
  rematerialise: toggle("compute activations again in the backward pass"),
  steps: optional(whole("steps", 1), 1),
  ...deviceFlags,
};

/** The command. */
export const memory = command({
  name: "memory",
  summary: "measures what a training step of random weights takes, beside what a plan says of it",
  arguments: {},
  flags: FLAGS,
  run: async ({ flags }, { print, say }) => {
    const { shape, mixer, accumulate, rematerialise, steps } = flags;
    const { batch = SHAPES[shape].batch, context = SHAPES[shape].context } = flags;
    if (batch % accumulate !== 0) {
      throw new UsageError(`--accumulate: expected a divisor of ${batch}, found ${accumulate}`);
    }
    const stage = Number(flags.stage) as MemoryBenchOptions["stage"];
    const options = { shape, mixer, stage, context, batch, accumulate, rematerialise, steps };
    const { teacher, student } = benchModels(SHAPES[shape], mixer);
    const trained = benchStage(options);
    // A plan makes graphs of its own, which would be measured as well: it comes after.
    const need = memoryBound(trained, student, teacher);
    const report = await withDevice({ ...flags, memory: need }, say, async (device) => ({
      ...await benchMemory(device, options),
      description: device.description,
    }));
    const size = stageSize(trained, student, teacher, {
      programs: true,
      teacherIsBf16: true,
    });
    // Only a run holds the student beside what it trains.
    const planned = stageMemory({ ...size, student: 0 }, THIS_MACHINE);
    const compared = (name: string, expected: number, found: number) => [
      name,
      bytesText(expected),
      bytesText(found),
      residualText(expected, found),
    ];
    print(table([
      [`${shape}, stage ${stage}`, "planned", "measured", "residual"],
      compared("device", planned.total - planned.process, report.device),
      compared("process", planned.total, report.process),
    ]));
    print(`\n${context} tokens × ${batch}, ${report.seconds.toFixed(2)} s a step\n`);
    return {
      report: {
        ...options,
        planned,
        device_bytes: report.device,
        process_bytes: report.process,
        seconds_per_step: report.seconds,
        loss: report.loss,
        device: report.description,
        ...machineReport(),
      },
    };
  },
});

if (import.meta.main) await main(memory);
