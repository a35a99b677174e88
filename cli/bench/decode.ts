/** `deno task bench decode --checkpoint C`: time of a token and memory, far beyond the prompt. */

import { benchDecode, type DecodeWindow } from "../../bench/decode.ts";
import { plotSvg } from "../draw/plot.ts";
import type { Device } from "../../devices/device.ts";
import { writeFileAtomic } from "../../formats/atomic_file.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { mixerText } from "../../plan/plan.ts";
import { machineReport } from "../../train/machine.ts";
import { checkpointFolder } from "../checkpoints.ts";
import { UsageError } from "../command/flags.ts";
import { standardProgress } from "../terminal/progress.ts";
import { bytesText } from "../terminal/table.ts";
import { measureSpeed } from "./decode_speed.ts";
import type { BenchFlags } from "./flags.ts";
import type { BenchPart, PartContext, PartResult, PartTable } from "./part.ts";

/** A model and how it decoded. */
interface Decoded {
  readonly checkpoint: string;
  /** What mixes its tokens. */
  readonly name: string;
  readonly windows: readonly DecodeWindow[];
}

/** What is measured of which model, ready to go. */
function subjectOf(folder: string, { prompt: text, tokens, window }: BenchFlags) {
  const checkpoint = inspectCheckpoint(folder);
  const prompt = [...checkpointTokenizer(folder, checkpoint.config).encode(text)];
  if (prompt.length === 0) throw new UsageError("--prompt: expected at least one token of text");
  const kinds = [
    ...new Set(checkpoint.spec.mixers.map((mixer) => mixerText(mixer).split(" (")[0])),
  ];
  const name = kinds.join(" and ");
  return {
    name,
    measure: async (device: Device, onProgress: (done: number) => void): Promise<Decoded> => {
      const model = loadCheckpoint(device, checkpoint);
      try {
        const windows = await benchDecode(model, { prompt, tokens, window }, onProgress);
        return { checkpoint: folder, name, windows };
      } finally {
        model.free();
      }
    },
  };
}

/**
 * Decodes with one model or two, one after the other; without a checkpoint, and where formats or
 * streams are asked for, tokens/s (decode_speed.ts).
 */
export const decodePart: BenchPart = {
  name: "decode",
  title: "Decoding",
  measure: (flags, context) =>
    flags.checkpoint === undefined || flags.weights !== undefined || flags.streams !== undefined
      ? measureSpeed(flags, context)
      : decodeFar(flags.checkpoint, flags, context),
};

async function decodeFar(
  checkpoint: string,
  flags: BenchFlags,
  context: PartContext,
): Promise<PartResult> {
  const { against, tokens, window, svg } = flags;
  const { say } = context;
  if (tokens < window) {
    throw new UsageError(`--tokens: expected at least a window of ${window}, found ${tokens}`);
  }
  const named = [checkpoint, ...(against === undefined ? [] : [against])];
  const folders = await Array.fromAsync(named, (name) => checkpointFolder(name, say));
  const subjects = folders.map((folder) => subjectOf(folder, flags));
  const progress = standardProgress(say);
  return await context.device(async (device) => {
    const decoded: Decoded[] = [];
    for (const { name, measure } of subjects) {
      decoded.push(await measure(device, (done) => progress.count(name, done, tokens)));
      progress.end();
    }
    if (svg !== undefined) {
      writeFileAtomic(svg, drawing(decoded, window, device));
      say(svg);
    }
    return {
      content: [decodedTable(decoded)],
      report: { models: decoded, window, device: device.description },
    };
  });
}

/** The windows at which the table has a row: the first, and those at each doubling of it. */
function doublings(windows: readonly DecodeWindow[]): number[] {
  const rows: number[] = [];
  for (let i = 1; i <= windows.length; i *= 2) rows.push(i - 1);
  return rows.at(-1) === windows.length - 1 ? rows : [...rows, windows.length - 1];
}

function decodedTable(models: readonly Decoded[]): PartTable {
  const [{ windows }] = models;
  const of = (label: string) => models.map(({ name }) => `${name}, ${label}`);
  return {
    rows: [
      ["tokens", ...of("ms a token"), ...of("state"), ...of("process")],
      ...doublings(windows).map((row) => [
        `${windows[row].position}`,
        ...models.map((model) => model.windows[row].milliseconds.toFixed(3)),
        ...models.map((model) => bytesText(model.windows[row].stateBytes)),
        ...models.map((model) => bytesText(model.windows[row].residentBytes)),
      ]),
    ],
  };
}

function drawing(models: readonly Decoded[], window: number, device: Device): string {
  const mebibytes = (bytes: number) => bytes / 2 ** 20;
  const panel = (title: string, y: (window: DecodeWindow) => number) => ({
    title,
    series: models.map(({ name, windows }) => ({
      name,
      points: windows.map((window) => ({ x: window.position, y: y(window) })),
    })),
  });
  const { machine } = machineReport();
  return plotSvg({
    title: "Decoding, token by token",
    x: "tokens",
    panels: [
      panel(`time of a token, ms (median of ${window})`, ({ milliseconds }) => milliseconds),
      panel("state of the model, MiB", ({ stateBytes }) => mebibytes(stateBytes)),
      panel("memory of the process, MiB", ({ residentBytes }) => mebibytes(residentBytes)),
    ],
    note: `${machine.name}, ${machine.cores} cores; ${device.description}`,
  });
}
