/** `deno task bench align`: stage 1 layer by layer, seconds and memory a layer. */

import { benchAlign } from "../../bench/align.ts";
import { UsageError } from "../flags.ts";
import { bytesText } from "../table.ts";
import type { BenchFlags } from "./flags.ts";
import type { BenchPart, PartContext, PartResult } from "./part.ts";
import { studentMixer } from "./train.ts";

/** A random teacher, read from disk a layer at a time, and the students of its layers. */
export const alignPart: BenchPart = {
  name: "align",
  title: "Stage 1 layer by layer",
  measure: alignBench,
};

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
      const { parameters, tokens, seconds, peakBytes, losses } = result;
      const each = result.layers.map(({ seconds }) => seconds).sort((a, b) => a - b);
      const million = (n: number) => `${(n / 1e6).toFixed(1)} M`;
      const row = [
        shape,
        mixer,
        `${each.length}`,
        `${tokens}`,
        each[each.length >> 1].toFixed(2),
        seconds.toFixed(1),
        bytesText(peakBytes),
      ];
      return {
        content: [
          { rows: [["shape", "mixer", "layers", "tokens", "s a layer", "s in all", "peak"], row] },
          `a layer reads ${million(parameters.teacher)} parameters and trains ` +
          `${million(parameters.trained)}; loss ${losses.map((l) => l.toFixed(5)).join(", ")}`,
        ],
        report: {
          shape,
          mixer,
          steps,
          tokens,
          seconds,
          peak_bytes: peakBytes,
          losses,
          layers: result.layers.map(({ layer, seconds, peakBytes }) => ({
            layer,
            seconds,
            peak_bytes: peakBytes,
          })),
          device: device.description,
        },
      };
    } finally {
      if (teacher === undefined) Deno.removeSync(folder, { recursive: true });
    }
  });
}
