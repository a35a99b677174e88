/** `deno task bench decode` without a far prompt: tokens/s by format of the weights and streams. */

import { benchDecodeSpeed, type DecodeSpeed } from "../../bench/decode_speed.ts";
import { decodeSpec, randomModel } from "../../bench/random_model.ts";
import type { Device } from "../../devices/device.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/load.ts";
import type { LoadedModel } from "../../infer/session.ts";
import { WEIGHT_FORMATS, type WeightFormat } from "../../infer/weights.ts";
import { machineReport } from "../../train/machine.ts";
import { checkpointFolder } from "../checkpoints.ts";
import type { Outcome, Output } from "../command.ts";
import { withDevice } from "../device.ts";
import { bytesText, table } from "../table.ts";
import type { BenchFlags } from "./flags.ts";

/** The shape where none is named. */
const DEFAULT_SHAPE = "smollm";

/** A format and how it decoded. */
type Row = DecodeSpeed & { readonly weights: WeightFormat };

/** Decodes in one format or in all, each beside a plain read of as many bytes. */
export async function decodeSpeedBench(
  flags: BenchFlags,
  { print, say }: Output,
): Promise<Outcome> {
  const { checkpoint: named, mixer, streams = 1, seconds } = flags;
  const shape = flags.shape ?? DEFAULT_SHAPE;
  const formats = flags.weights === undefined ? WEIGHT_FORMATS : [flags.weights];
  const checkpoint = named === undefined
    ? undefined
    : inspectCheckpoint(await checkpointFolder(named, say));
  const load = (device: Device, format: WeightFormat): LoadedModel & { free(): void } =>
    checkpoint === undefined
      ? randomModel(device, decodeSpec(shape, mixer), format)
      : loadCheckpoint(device, checkpoint, format);
  return await withDevice(flags, say, async (device) => {
    const rows: Row[] = [];
    for (const weights of formats) {
      say(`${weights}, ${streams} ${streams === 1 ? "stream" : "streams"}`);
      const model = load(device, weights);
      try {
        rows.push({ weights, ...await benchDecodeSpeed(model, { streams, seconds }) });
      } finally {
        model.free();
      }
    }
    print(speedText(rows));
    const subject = named === undefined ? { shape, mixer } : { checkpoint: named };
    return { report: { ...subject, rows, device: device.description, ...machineReport() } };
  });
}

function speedText(rows: readonly Row[]): string {
  return table([
    [
      "weights",
      "streams",
      "prompt tokens/s",
      "tokens/s",
      "read a token",
      "GB/s",
      "plain read",
      "share",
    ],
    ...rows.map((row) => [
      row.weights,
      `${row.streams}`,
      row.promptTokensPerSecond.toFixed(0),
      row.tokensPerSecond.toFixed(1),
      bytesText(row.bytes / row.streams),
      row.gigabytesPerSecond.toFixed(2),
      row.readGigabytesPerSecond.toFixed(2),
      `${(100 * row.share).toFixed(0)} %`,
    ]),
  ]);
}
