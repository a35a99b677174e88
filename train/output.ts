/** The result of a run: a Hugging Face folder that appears whole or not at all. */

import { join } from "node:path";
import { writeFileAtomic, writeJsonAtomic } from "../formats/atomic_file.ts";
import { FormatError, systemError } from "../formats/error.ts";
import { configJson, type ModelConfig } from "../formats/hf_config/config.ts";
import type { Dtype } from "../formats/dtype.ts";
import type { TensorSource } from "../formats/safetensors/write.ts";
import { writeCheckpoint } from "../formats/safetensors/write_checkpoint.ts";

/** Files that belong to a tokenizer, copied as they are where they exist. */
const TOKENIZER_FILES = [
  ...["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"],
  ...["vocab.json", "merges.txt", "chat_template.jinja", "tokenizer.model"],
];

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
  readonly tokenizerFolder: string;
  /** The recipe as JSON. */
  readonly recipe: string;
  readonly report: unknown;
  /** Telemetry to keep, if there is any. */
  readonly telemetry?: string;
}

/** The file by which a folder is known to be a result of this program. */
const MARK = "report.json";

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/**
 * Refuses a folder that is in use by something else.
 * @throws FormatError where the path is a file or a folder with other things in it.
 */
export function checkOutput(folder: string): void {
  let names: string[];
  try {
    names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw systemError(folder, "write", error);
  }
  if (names.length === 0 || names.includes(MARK)) return;
  throw new FormatError({
    file: folder,
    expected: "a new folder, an empty one, or an earlier result",
    found: `a folder with ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""}`,
    advice: "choose another one with --out",
  });
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
  const old = `${folder}.old`;
  try {
    removeTree(partial);
    Deno.mkdirSync(partial, { recursive: true });
    const dtype = STORED[output.dtype];
    writeCheckpoint(partial, output.tensors.map((tensor) => ({ ...tensor, dtype })));
    const { config } = output;
    const torchDtype = { ...config, torchDtype: output.dtype };
    writeJsonAtomic(join(partial, "config.json"), configJson(torchDtype));
    writeJsonAtomic(join(partial, "generation_config.json"), {
      ...(config.bosTokenId === null ? {} : { bos_token_id: config.bosTokenId }),
      ...(config.eosTokenIds.length === 0 ? {} : { eos_token_id: config.eosTokenIds }),
      do_sample: false,
    });
    for (const name of TOKENIZER_FILES) {
      const from = join(output.tokenizerFolder, name);
      if (isFile(from)) writeFileAtomic(join(partial, name), Deno.readFileSync(from));
    }
    writeFileAtomic(join(partial, "recipe.json"), output.recipe);
    if (output.telemetry !== undefined && isFile(output.telemetry)) {
      writeFileAtomic(join(partial, "telemetry.jsonl"), Deno.readFileSync(output.telemetry));
    }
    writeJsonAtomic(join(partial, MARK), output.report);
    removeTree(old);
    try {
      Deno.renameSync(folder, old);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    Deno.renameSync(partial, folder);
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
