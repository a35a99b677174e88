/** Telemetry of a run (telemetry.jsonl): the losses of its steps, and those of two runs compared. */

import { join } from "node:path";
import { FormatError, show } from "../formats/error.ts";
import { isFolder } from "../formats/files.ts";
import { isJsonObject } from "../formats/json.ts";
import { readLines } from "../formats/text/jsonl.ts";
import { TELEMETRY_FILE } from "./run_folder.ts";

/** The training losses of a stage. */
export interface StageLosses {
  readonly stage: string;
  /** Of the steps from the first on, as many as are done. */
  readonly losses: readonly number[];
}

/**
 * The losses of a run's stages. A last line that is cut off does not count.
 * @param path telemetry.jsonl, or the folder of a result or of a run in progress
 * @throws FormatError for the first line that is no telemetry, by its number.
 */
export function readLosses(path: string): readonly StageLosses[] {
  const file = isFolder(path) ? join(path, TELEMETRY_FILE) : path;
  const advice = "name the folder of a run, or its telemetry.jsonl";
  const lines = [...readLines(file)];
  const stages: { stage: string; losses: number[] }[] = [];
  for (const [i, line] of lines.entries()) {
    const bad = (expected: string, found: string) =>
      new FormatError({ file, at: `line ${i + 1}`, expected, found, advice });
    const value = parsed(line);
    if (value === undefined && i === lines.length - 1) break;
    if (!isJsonObject(value)) {
      throw bad("a JSON object", value === undefined ? "none" : show(value));
    }
    const { stageIndex, stage, step, loss } = value;
    // What is told between two stages is of no step.
    if (step === 0) continue;
    if (typeof loss !== "number" || typeof stage !== "string") {
      throw bad("stage and loss of a step", Object.keys(value).join(", ") || "nothing");
    }
    if (stageIndex === stages.length) stages.push({ stage, losses: [] });
    const present = stages.at(-1);
    if (present === undefined || stageIndex !== stages.length - 1) {
      throw bad(`a step of stage ${stages.length}`, `stageIndex ${show(stageIndex)}`);
    }
    if (step !== present.losses.length + 1) {
      throw bad(`step ${present.losses.length + 1} of ${stage}`, `step ${show(step)}`);
    }
    present.losses.push(loss);
  }
  if (stages.length > 0) return stages;
  throw new FormatError({ file, expected: "a line a step", found: "no step", advice });
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** How far two runs of a stage are apart: |b − a| / |a| of the losses of a step. */
export interface StageDifference {
  readonly stage: string;
  /** Steps that both have done, and each. */
  readonly compared: number;
  readonly steps: readonly [number, number];
  /** Steps from the first on in which both have the same loss to the bit. */
  readonly equal: number;
  /** The largest over the first 10 steps, the first 100, and all. */
  readonly first10: number;
  readonly first100: number;
  readonly largest: number;
  /** The mean over all steps. */
  readonly mean: number;
  /** The losses of the last step that both have done. */
  readonly last: readonly [number, number];
}

/**
 * Compares two runs stage by stage, as far as both have come.
 * @param names what messages call them
 * @throws FormatError where a stage of one has another name in the other.
 */
export function compareLosses(
  runs: readonly [readonly StageLosses[], readonly StageLosses[]],
  names: readonly [string, string],
): readonly StageDifference[] {
  const [a, b] = runs;
  const count = Math.min(a.length, b.length);
  const other = Array.from({ length: count }, (_, i) => i).find((i) => a[i].stage !== b[i].stage);
  if (other !== undefined) {
    throw new FormatError({
      file: names[1],
      at: `stage ${other + 1}`,
      expected: `${a[other].stage}, as in ${names[0]}`,
      found: b[other].stage,
      advice: "compare runs of recipes with the same stages",
    });
  }
  return a.slice(0, count).map(({ stage, losses }, i) => difference(stage, losses, b[i].losses));
}

function difference(
  stage: string,
  a: readonly number[],
  b: readonly number[],
): StageDifference {
  const compared = Math.min(a.length, b.length);
  const apart = Array.from(
    { length: compared },
    (_, i) => a[i] === b[i] ? 0 : Math.abs(b[i] - a[i]) / Math.abs(a[i]),
  );
  const largest = (steps: number) =>
    apart.slice(0, steps).reduce((most, d) => Math.max(most, d), 0);
  const unequal = apart.findIndex((d) => d !== 0);
  return {
    ...{ stage, compared, steps: [a.length, b.length] },
    equal: unequal < 0 ? compared : unequal,
    ...{ first10: largest(10), first100: largest(100), largest: largest(compared) },
    mean: apart.reduce((sum, d) => sum + d, 0) / compared,
    last: [a[compared - 1], b[compared - 1]],
  };
}
