/** `deno task bench decode` without a far prompt: tokens/s by format of the weights and streams. */

import { benchDecodeSpeed, type DecodeSpeed } from "../../bench/decode_speed.ts";
import { decodeSpec, randomModel } from "../../bench/random_model.ts";
import type { Device } from "../../devices/device.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import type { LoadedModel } from "../../infer/session.ts";
import { WEIGHT_FORMATS, type WeightFormat } from "../../infer/weights.ts";
import { checkpointFolder } from "../checkpoints.ts";
import { UsageError } from "../command/flags.ts";
import { bytesText } from "../terminal/table.ts";
import type { BenchFlags } from "./flags.ts";
import type { PartContext, PartResult, PartTable } from "./part.ts";

/** The shape where none is named. */
const DEFAULT_SHAPE = "smollm";
/** Texts that are written at a time where everything is measured. */
const ALL_STREAMS = [1, 8, 64];

/** A format and how it decoded. */
type Row = DecodeSpeed & { readonly weights: WeightFormat };

/** Decodes in one format or in all, each beside a plain read of as many bytes. */
export async function measureSpeed(flags: BenchFlags, context: PartContext): Promise<PartResult> {
  const { checkpoint: named, mixer, quick } = flags;
  const { all, say } = context;
  const [shape = DEFAULT_SHAPE, ...others] = all ? [] : flags.shape ?? [];
  if (others.length > 0) throw new UsageError("--shape: expected one shape with decode");
  const seconds = flags.seconds ?? (quick ? 1 : 5);
  const formats = flags.weights === undefined ? WEIGHT_FORMATS : [flags.weights];
  const streams = flags.streams ?? (all ? ALL_STREAMS : [1]);
  const checkpoint = named === undefined
    ? undefined
    : inspectCheckpoint(await checkpointFolder(named, say));
  const load = (device: Device, format: WeightFormat): LoadedModel & { free(): void } =>
    checkpoint === undefined
      ? randomModel(device, decodeSpec(shape, mixer), format)
      : loadCheckpoint(device, checkpoint, format);
  return await context.device(async (device) => {
    const rows: Row[] = [];
    for (const weights of formats) {
      const model = load(device, weights);
      try {
        for (const count of streams) {
          say(`${weights}, ${count} ${count === 1 ? "stream" : "streams"}`);
          const speed = await benchDecodeSpeed(model, { streams: count, seconds });
          rows.push({ weights, ...speed });
        }
      } finally {
        model.free();
      }
    }
    const subject = named === undefined ? { shape, mixer } : { checkpoint: named };
    const what = named === undefined ? `random weights, ${shape}, ${mixer}` : named;
    return {
      content: [`${what}:`, speedTable(rows)],
      report: { ...subject, rows, device: device.description },
    };
  });
}

const speedTable = (rows: readonly Row[]): PartTable => ({
  rows: [
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
  ],
});
