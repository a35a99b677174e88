/** manifest.json of a golden directory, checked. */

import { join } from "node:path";
import { FormatError, show } from "../../formats/error.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { readJsonObject } from "../../formats/json_file.ts";

const MANIFEST_LIMIT = 10_000_000;

/** A block or loss: NAME.safetensors holds its inputs, outputs and gradients. */
export interface BlockCase {
  readonly name: string;
  /** Sizes and flags by the manifest's names: `H`, `theta`, `balance`. */
  readonly config: JsonObject;
}

/** A cosine schedule with warm-up, and rates by step. */
export interface ScheduleCase {
  readonly totalSteps: number;
  readonly warmup: number;
  readonly init: number;
  readonly final: number;
  readonly points: readonly (readonly [step: number, rate: number])[];
}

/** A token stream, its magic prime, and slots by sample. */
export interface SamplingCase {
  readonly tokens: number;
  readonly context: number;
  readonly prime: number;
  readonly slots: readonly (readonly [sample: number, slot: number])[];
}

/** What a manifest asks for. */
export interface Manifest {
  readonly blocks: readonly BlockCase[];
  readonly schedules: readonly ScheduleCase[];
  readonly samplings: readonly SamplingCase[];
}

/**
 * Reads DIR/manifest.json.
 * @throws FormatError for a missing file and for what is not of its form.
 */
export function readManifest(folder: string): Manifest {
  const file = join(folder, "manifest.json");
  const json = readJsonObject(file, MANIFEST_LIMIT);
  const wrong = (at: string, expected: string, value: unknown): never => {
    const advice = "use a directory of the form of ../shared/golden";
    throw new FormatError({ file, at, expected, found: show(value), advice });
  };
  const object = (at: string, value: unknown): JsonObject =>
    isJsonObject(value) ? value : wrong(at, "an object", value);
  const number = (at: string, value: unknown): number =>
    typeof value === "number" ? value : wrong(at, "a number", value);
  const pairs = (at: string, value: unknown) =>
    Object.entries(object(at, value)).map(([key, item]) =>
      [number(`${at}.${key}`, Number(key)), number(`${at}.${key}`, item)] as const
    );
  const list = (value: unknown): readonly unknown[] => value === undefined ? [] : [value].flat();
  return {
    blocks: Object.entries(object("cases", json.cases ?? {})).map(([name, entry]) => ({
      name,
      config: object(`cases.${name}.config`, object(`cases.${name}`, entry).config ?? {}),
    })),
    schedules: list(json.lr_schedule).map((value): ScheduleCase => {
      const at = "lr_schedule";
      const { total_steps, warmup, init, final, points } = object(at, value);
      return {
        totalSteps: number(`${at}.total_steps`, total_steps),
        warmup: number(`${at}.warmup`, warmup),
        init: number(`${at}.init`, init),
        final: number(`${at}.final`, final),
        points: pairs(`${at}.points`, points),
      };
    }),
    samplings: list(json.sampling).map((value, i): SamplingCase => {
      const at = `sampling[${i}]`;
      const { tokens, ctx, magic_prime, slots } = object(at, value);
      return {
        tokens: number(`${at}.tokens`, tokens),
        context: number(`${at}.ctx`, ctx),
        prime: number(`${at}.magic_prime`, magic_prime),
        slots: pairs(`${at}.slots`, slots),
      };
    }),
  };
}
