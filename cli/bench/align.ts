/** `deno task bench align`: stage 1 layer by layer, seconds and memory a layer. */

import { benchAlign } from "../../bench/align.ts";
import { machineReport } from "../../train/machine.ts";
import type { Outcome, Output } from "../command.ts";
import { withDevice } from "../device.ts";
import { bytesText, table } from "../table.ts";
import { unpinBlas } from "./pins.ts";
import type { BenchFlags } from "./flags.ts";

/** Aligns a random teacher that is read from disk a layer at a time. */
export function alignBench(flags: BenchFlags, { print, say }: Output): Promise<Outcome> {
  unpinBlas();
  return withDevice(flags, say, async (device) => {
    const { shape, mixer, layers, steps, teacher } = flags;
    const folder = teacher ?? Deno.makeTempDirSync({ prefix: "suture-align-" });
    if (teacher !== undefined) Deno.mkdirSync(teacher, { recursive: true });
    try {
      const result = await benchAlign(device, { shape, mixer, layers, steps, folder }, say);
      const { parameters, tokens, seconds, peakBytes, losses } = result;
      const each = result.layers.map(({ seconds }) => seconds).sort((a, b) => a - b);
      print(table([
        ["shape", "mixer", "layers", "tokens", "s a layer", "s in all", "peak memory"],
        [
          shape,
          mixer,
          `${each.length}`,
          `${tokens}`,
          each[each.length >> 1].toFixed(2),
          seconds.toFixed(1),
          bytesText(peakBytes),
        ],
      ]));
      const { teacher: read, trained } = parameters;
      const million = (n: number) => `${(n / 1e6).toFixed(1)} M`;
      print(
        `\na layer reads ${million(read)} parameters and trains ${million(trained)}; ` +
          `loss ${losses.map((loss) => loss.toFixed(5)).join(", ")}\n`,
      );
      return {
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
          ...machineReport(),
        },
      };
    } finally {
      if (teacher === undefined) Deno.removeSync(folder, { recursive: true });
    }
  });
}
