/** `deno task bench decode --checkpoint C`: time of a token and memory, far beyond the prompt. */

import { benchDecode, type DecodeWindow } from "../../bench/decode.ts";
import { plotSvg } from "../draw/plot.ts";
import type { Device } from "../../devices/device.ts";
import { writeFileAtomic } from "../../formats/atomic_file.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/load.ts";
import { mixerText } from "../../plan/plan.ts";
import { machineReport } from "../../train/machine.ts";
import { checkpointFolder } from "../checkpoints.ts";
import type { Outcome, Output } from "../command.ts";
import { withDevice } from "../device.ts";
import { UsageError } from "../flags.ts";
import { standardProgress } from "../progress.ts";
import { bytesText, table } from "../table.ts";
import { decodeSpeedBench } from "./decode_speed.ts";
import type { BenchFlags } from "./flags.ts";

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
export async function decodeBench(flags: BenchFlags, output: Output): Promise<Outcome> {
  const { checkpoint, against, tokens, window, svg, weights, streams } = flags;
  const { print, say } = output;
  if (checkpoint === undefined || weights !== undefined || streams !== undefined) {
    return await decodeSpeedBench(flags, output);
  }
  if (tokens < window) {
    throw new UsageError(`--tokens: expected at least a window of ${window}, found ${tokens}`);
  }
  const named = [checkpoint, ...(against === undefined ? [] : [against])];
  const folders = await Array.fromAsync(named, (name) => checkpointFolder(name, say));
  const subjects = folders.map((folder) => subjectOf(folder, flags));
  const progress = standardProgress(say);
  return await withDevice(flags, say, async (device) => {
    const decoded: Decoded[] = [];
    for (const { name, measure } of subjects) {
      decoded.push(await measure(device, (done) => progress.count(name, done, tokens)));
      progress.end();
    }
    print(decodedText(decoded));
    if (svg !== undefined) {
      writeFileAtomic(svg, drawing(decoded, window, device));
      print(`\n${svg}\n`);
    }
    return {
      report: { models: decoded, window, device: device.description, ...machineReport() },
    };
  });
}

/** The windows at which the table has a row: the first, and those at each doubling of it. */
function doublings(windows: readonly DecodeWindow[]): number[] {
  const rows: number[] = [];
  for (let i = 1; i <= windows.length; i *= 2) rows.push(i - 1);
  return rows.at(-1) === windows.length - 1 ? rows : [...rows, windows.length - 1];
}

function decodedText(models: readonly Decoded[]): string {
  const [{ windows }] = models;
  const of = (label: string) => models.map(({ name }) => `${name}, ${label}`);
  return table([
    ["tokens", ...of("ms a token"), ...of("state"), ...of("process")],
    ...doublings(windows).map((row) => [
      `${windows[row].position}`,
      ...models.map((model) => model.windows[row].milliseconds.toFixed(3)),
      ...models.map((model) => bytesText(model.windows[row].stateBytes)),
      ...models.map((model) => bytesText(model.windows[row].residentBytes)),
    ]),
  ]);
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
    x: "tokens in the text",
    panels: [
      panel(`time of a token, ms (median of ${window})`, ({ milliseconds }) => milliseconds),
      panel("state of the model, MiB", ({ stateBytes }) => mebibytes(stateBytes)),
      panel("memory of the process, MiB", ({ residentBytes }) => mebibytes(residentBytes)),
    ],
    note: `${machine.name}, ${machine.cores} cores; ${device.description}`,
  });
}
