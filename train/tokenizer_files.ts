/** Tokenizers as files, which go with the result of a run. */

import { basename, dirname, join } from "node:path";
import type { Source } from "../dsl/sources.ts";
import type { ByteLevelBpe, TokenizerFile } from "../dsl/tokenizers.ts";
import { writeFileAtomic } from "../formats/atomic_file.ts";
import { systemError } from "../formats/error.ts";
import { isFile } from "../formats/files.ts";
import { readJsonObject } from "../formats/json_file.ts";
import {
  OTHER_TOKENIZER_FILES,
  TOKENIZER_CONFIG_FILE,
  TOKENIZER_FILE,
} from "../formats/tokenizer/files.ts";
import { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { loadTokenizer, TOKENIZER_LIMIT } from "../formats/tokenizer/load.ts";
import { trainByteLevelBpe } from "../formats/tokenizer/train.ts";
import { sourceTexts } from "./sources.ts";

/** A file as it goes into a folder. */
export interface NamedFile {
  readonly name: string;
  readonly content: Uint8Array;
}

/** A tokenizer and its files. */
export interface TokenizerWithFiles {
  readonly tokenizer: Tokenizer;
  readonly files: readonly NamedFile[];
}

function readFiles(folder: string, names: readonly string[]): NamedFile[] {
  return names.flatMap((name) => {
    const path = join(folder, name);
    try {
      return [{ name, content: Deno.readFileSync(path) }];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw systemError(path, "read", error);
    }
  });
}

/** The files of the tokenizer in a folder. */
export function tokenizerFiles(folder: string): NamedFile[] {
  return readFiles(folder, [TOKENIZER_FILE, ...OTHER_TOKENIZER_FILES]);
}

/** An existing tokenizer: a tokenizer.json under any name, or the folder that holds one. */
export function existingTokenizer({ location }: TokenizerFile): TokenizerWithFiles {
  if (!isFile(location) || basename(location) === TOKENIZER_FILE) {
    const folder = isFile(location) ? dirname(location) : location;
    return { tokenizer: loadTokenizer(folder), files: tokenizerFiles(folder) };
  }
  const config = join(dirname(location), TOKENIZER_CONFIG_FILE);
  return {
    tokenizer: new Tokenizer(
      readJsonObject(location, TOKENIZER_LIMIT),
      isFile(config) ? readJsonObject(config, TOKENIZER_LIMIT) : {},
      location,
    ),
    files: [
      { name: TOKENIZER_FILE, content: Deno.readFileSync(location) },
      ...readFiles(dirname(location), OTHER_TOKENIZER_FILES),
    ],
  };
}

/** Learns a tokenizer from the text of a recipe. */
export function madeTokenizer(
  { pieces, specialTokens }: ByteLevelBpe,
  sources: readonly Source[],
): TokenizerWithFiles {
  function* texts() {
    for (const source of sources) yield* sourceTexts(source);
  }
  const { tokenizer, config } = trainByteLevelBpe(texts(), pieces, { specialTokens });
  const file = (name: string, value: unknown): NamedFile => ({
    name,
    content: new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`),
  });
  return {
    tokenizer: new Tokenizer(tokenizer, config),
    files: [file(TOKENIZER_FILE, tokenizer), file(TOKENIZER_CONFIG_FILE, config)],
  };
}

/** Where a run's folder keeps the tokenizer that was made for it. */
const KEPT = "tokenizer";

/** The tokenizer that a run's folder keeps; undefined where it keeps none. */
export function keptTokenizer(runFolder: string): TokenizerWithFiles | undefined {
  const folder = join(runFolder, KEPT);
  if (!isFile(join(folder, TOKENIZER_FILE))) return undefined;
  return { tokenizer: loadTokenizer(folder), files: tokenizerFiles(folder) };
}

/** Keeps a tokenizer in a run's folder; with the main file, which comes last, it is whole. */
export function keepTokenizer(runFolder: string, files: readonly NamedFile[]): void {
  for (const { name, content } of [...files].reverse()) {
    writeFileAtomic(join(runFolder, KEPT, name), content);
  }
}
