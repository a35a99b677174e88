/**
 * A window of steps whose streams fit a part of the disk: through it goes every layer, one after
 * another, before the next window begins.
 */

import { join } from "node:path";
import { writeJsonAtomic } from "../../formats/atomic_file.ts";
import { isFile, removeFile } from "../../formats/files.ts";
import { readJsonObject } from "../../formats/json_file.ts";
import { size } from "../../graph/tensor.ts";
import { EMBEDDINGS } from "../../models/decoder.ts";
import type { StreamName } from "./trainer.ts";
import { openRecords, type Records } from "./records.ts";
import { partShapes, type StreamedLayers } from "./layers.ts";
import type { Weights } from "../weights.ts";

/** Bytes of streams on disk at most, unless a single step has more: 16 GB. */
export const SCRATCH_BYTES = 16e9;

/** Steps from `from` to before `to`. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** Steps of a window: as many as its streams may take of the disk. */
export function windowSteps(layers: StreamedLayers, scratchBytes: number): number {
  const shapes = partShapes(layers);
  // One stream is read while the next is written.
  const numbers = 2 * size(shapes.stream) + layers.values.length * size(shapes.value);
  return Math.max(1, Math.floor(scratchBytes / (4 * numbers * layers.stage.accumulate)));
}

/** The streams of a window, open: a record for every part of a batch. Dispose them. */
export interface Streams extends Disposable {
  /** What the layer reads or writes under a name: two streams take turns, values stay. */
  of(layer: number, name: StreamName): Records;
}

const streamFile = (folder: string, name: string) => join(folder, `${name}.f32`);
const TURNS = ["even", "odd"] as const;

/** Opens the streams in a folder, or makes them. */
export function openStreams(folder: string, layers: StreamedLayers): Streams {
  const shapes = partShapes(layers);
  using opened = new DisposableStack();
  const open = (name: string, length: number) =>
    opened.use(openRecords(streamFile(folder, name), length));
  const turns = TURNS.map((name) => open(name, size(shapes.stream)));
  const values = new Map(layers.values.map((name) => [name, open(name, size(shapes.value))]));
  const kept = opened.move();
  return {
    of: (layer, name) => {
      if (name === "stream") return turns[layer % 2];
      if (name === "next") return turns[(layer + 1) % 2];
      return values.get(name)!;
    },
    [Symbol.dispose]: () => kept.dispose(),
  };
}

/** Removes the streams and the note of the window. */
export function removeStreams(folder: string, layers: StreamedLayers): void {
  for (const name of [...TURNS, ...layers.values]) removeFile(streamFile(folder, name));
  removeFile(windowFile(folder));
}

/** Writes the stream before layer 0: the embeddings of every record's ids. */
export async function writeEmbeddings(
  weights: Weights,
  width: number,
  parts: Iterable<Int32Array>,
  records: Records,
): Promise<void> {
  const rows = new Float32Array(records.length);
  let index = 0;
  for (const ids of parts) {
    for (const [t, id] of ids.entries()) {
      await weights.readRangeF32(EMBEDDINGS, id * width, rows.subarray(t * width, (t + 1) * width));
    }
    records.write(index++, rows);
  }
  records.sync();
}

const windowFile = (folder: string) => join(folder, "window.json");
/** Bytes of a note. */
const NOTE_LIMIT = 1000;

/** The window from a step on that an earlier call was in: its first stream is there. */
export function notedWindow(folder: string, from: number): Window | undefined {
  const path = windowFile(folder);
  if (!isFile(path)) return undefined;
  const window = readJsonObject(path, NOTE_LIMIT) as unknown as Window;
  return window.from === from ? window : undefined;
}

/** Notes that the first stream of a window is there. */
export const noteWindow = (folder: string, window: Window): void =>
  writeJsonAtomic(windowFile(folder), window);
