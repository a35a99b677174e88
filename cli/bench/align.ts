/** `deno task bench align`: stage 1 layer by layer, seconds and memory a layer. */

import { benchAlign } from "../../bench/align.ts";
import { UsageError } from "../command/flags.ts";
import { bytesText } from "../terminal/table.ts";
import type { BenchFlags } from "./flags.ts";
import type { BenchPart, PartContext, PartResult } from "./part.ts";
import { taskReport } from "./task.ts";
import { studentMixer } from "./train.ts";

/** Layers of the 7B-shaped model that a quick run walks: all are alike. */
const QUICK_LAYERS = 2;

/** A random teacher, read from disk a layer at a time, and the students of its layers. */
export const alignPart: BenchPart = {
  name: "align",
  title: "Stage 1 layer by layer",
  // In a process of its own, whose memory it tells.
  measure: async (flags, context) => {
    if (!context.all) return await alignBench(flags, context);
    const words = ["align", "--shape", "qwen7b", "--steps", "2"];
    const fewer = flags.quick ? ["--layers", `${QUICK_LAYERS}`] : [];
    return resultOf(await taskReport("bench", [...words, ...fewer]) as unknown as AlignReport);
  },
};

/** What `--json` tells of it. */
interface AlignReport {
  readonly shape: string;
  readonly mixer: string;
  readonly steps: number;
  readonly tokens: number;
  readonly seconds: number;
  readonly peak_bytes: number;
  readonly losses: readonly number[];
  readonly layers: readonly {
    readonly layer: number;
    readonly seconds: number;
    readonly peak_bytes: number;
  }[];
  /** Of a layer. */
  readonly parameters: { readonly teacher: number; readonly trained: number };
  readonly device: string;
}

function resultOf(report: AlignReport): PartResult {
  const { shape, mixer, tokens, seconds, peak_bytes, losses, parameters } = report;
  const each = report.layers.map(({ seconds }) => seconds).sort((a, b) => a - b);
  const million = (n: number) => `${(n / 1e6).toFixed(1)} M`;
  const row = [
    shape,
    mixer,
    `${each.length}`,
    `${tokens}`,
    each[each.length >> 1].toFixed(2),
    seconds.toFixed(1),
    bytesText(peak_bytes),
  ];
  return {
    content: [
      { rows: [["shape", "mixer", "layers", "tokens", "s a layer", "s in all", "peak"], row] },
      `a layer reads ${million(parameters.teacher)} parameters and trains ` +
      `${million(parameters.trained)}; loss ${losses.map((l) => l.toFixed(5)).join(", ")}`,
    ],
    report: { ...report },
  };
}

function alignBench(flags: BenchFlags, { say, device }: PartContext): Promise<PartResult> {
  const { layers, steps, teacher } = flags;
  const mixer = studentMixer(flags);
  const [shape = "tiny", ...others] = flags.shape ?? [];
  if (others.length > 0) throw new UsageError("--shape: expected one shape with align");
  return device(async (device) => {
    const folder = teacher ?? Deno.makeTempDirSync({ prefix: "suture-align-" });
    if (teacher !== undefined) Deno.mkdirSync(teacher, { recursive: true });
    try {
      const result = await benchAlign(device, { shape, mixer, layers, steps, folder }, say);
      return resultOf({
        shape,
        mixer,
        steps,
        tokens: result.tokens,
        seconds: result.seconds,
        peak_bytes: result.peakBytes,
        losses: result.losses,
        layers: result.layers.map(({ layer, seconds, peakBytes }) => ({
          layer,
          seconds,
          peak_bytes: peakBytes,
        })),
        parameters: result.parameters,
        device: device.description,
      });
    } finally {
      if (teacher === undefined) Deno.removeSync(folder, { recursive: true });
    }
  });
}
