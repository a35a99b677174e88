/** The result of a run: a Hugging Face folder that appears whole or not at all. */

import { join } from "node:path";
import { writeFileAtomic, writeJsonAtomic } from "../formats/atomic_file.ts";
import { FormatError, systemError } from "../formats/error.ts";
import { isFile } from "../formats/files.ts";
import { configJson, type ModelConfig } from "../formats/hf_config/config.ts";
import { readJsonObject } from "../formats/json_file.ts";
import type { Dtype } from "../formats/dtype.ts";
import type { TensorSource } from "../formats/safetensors/write.ts";
import { writeCheckpoint } from "../formats/safetensors/write_checkpoint.ts";
import { remoteCode } from "../formats/hf_modeling/code.ts";
import type { Report } from "./report.ts";
import type { NamedFile } from "./tokenizer_files.ts";

/** Types that weights can be written in. */
export const OUTPUT_DTYPES = ["float32", "bfloat16", "float16"] as const;
/** A type that weights can be written in. */
export type OutputDtype = typeof OUTPUT_DTYPES[number];

const STORED: Readonly<Record<OutputDtype, Dtype>> = {
  float32: "F32",
  bfloat16: "BF16",
  float16: "F16",
};

/** What goes into the folder. */
export interface Output {
  readonly config: ModelConfig;
  readonly dtype: OutputDtype;
  readonly tensors: readonly Omit<TensorSource, "dtype">[];
  readonly tokenizerFiles: readonly NamedFile[];
  /** The recipe as JSON. */
  readonly recipe: string;
  readonly report: Report;
  /** Telemetry to keep, if there is any. */
  readonly telemetry?: string;
}

/** The file by which a folder is known to be a result of this program. */
const MARK = "report.json";
/** Bytes of the largest report that is read. */
const REPORT_LIMIT = 10_000_000;

/** Where an earlier result stands while a new one takes its place. */
const oldFolder = (folder: string) => `${folder}.old`;

/** Moves a folder; returns whether it was there. */
function moveFolder(from: string, to: string): boolean {
  try {
    Deno.renameSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw systemError(to, "write", error);
  }
}

/** Names of what is in a folder; undefined where there is no folder. */
function namesIn(folder: string): string[] | undefined {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw systemError(folder, "write", error);
  }
}

/** Where a run was killed while its result took the place of an earlier one, that one comes back. */
export function recoverOutput(folder: string): void {
  if (namesIn(folder) !== undefined || !namesIn(oldFolder(folder))?.includes(MARK)) return;
  moveFolder(oldFolder(folder), folder);
}

/**
 * Refuses a folder that is in use by something else.
 * @throws FormatError where the path, or that of the folder that steps aside, is a file or a folder
 * with other things in it.
 */
export function checkOutput(folder: string): void {
  for (const path of [folder, oldFolder(folder)]) {
    const names = namesIn(path);
    if (names === undefined || names.length === 0 || names.includes(MARK)) continue;
    throw new FormatError({
      file: path,
      expected: "a new folder, an empty one, or an earlier result",
      found: `a folder with ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""}`,
      advice: "choose another one with --out",
    });
  }
}

/** The report of a result, where the folder holds one of this recipe. */
export function earlierReport(folder: string, recipeHash: string): Report | undefined {
  const path = join(folder, MARK);
  if (!isFile(path)) return undefined;
  const report = readJsonObject(path, REPORT_LIMIT);
  return report.recipeHash === recipeHash ? report as unknown as Report : undefined;
}

function removeTree(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Writes everything beside the folder and renames it into place. */
export function writeOutput(folder: string, output: Output): void {
  const partial = `${folder}.partial`;
  const old = oldFolder(folder);
  try {
    removeTree(partial);
    Deno.mkdirSync(partial, { recursive: true });
    const dtype = STORED[output.dtype];
    writeCheckpoint(partial, output.tensors.map((tensor) => ({ ...tensor, dtype })));
    const { config } = output;
    const torchDtype = { ...config, torchDtype: output.dtype };
    const code = remoteCode(config.modelType);
    const autoMap = code && { auto_map: code.autoMap };
    writeJsonAtomic(join(partial, "config.json"), configJson(torchDtype, autoMap));
    writeJsonAtomic(join(partial, "generation_config.json"), {
      ...(config.bosTokenId === null ? {} : { bos_token_id: config.bosTokenId }),
      ...(config.eosTokenIds.length === 0 ? {} : { eos_token_id: config.eosTokenIds }),
      do_sample: false,
    });
    for (const { name, content } of [...output.tokenizerFiles, ...code?.files ?? []]) {
      writeFileAtomic(join(partial, name), content);
    }
    writeFileAtomic(join(partial, "recipe.json"), output.recipe);
    if (output.telemetry !== undefined && isFile(output.telemetry)) {
      writeFileAtomic(join(partial, "telemetry.jsonl"), Deno.readFileSync(output.telemetry));
    }
    writeJsonAtomic(join(partial, MARK), output.report);
    removeTree(old);
    moveFolder(folder, old);
    try {
      Deno.renameSync(partial, folder);
    } catch (error) {
      moveFolder(old, folder);
      throw error;
    }
    removeTree(old);
  } catch (error) {
    try {
      removeTree(partial);
    } catch {
      // The reason to give up is the one to report.
    }
    throw systemError(folder, "write", error);
  }
}
