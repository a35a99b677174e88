/** The tokenizer of a Hugging Face folder, from disk. */
import { join } from "node:path";
import { isFile } from "../files.ts";
import { readJsonObject } from "../json_file.ts";
import { TOKENIZER_CONFIG_FILE, TOKENIZER_FILE } from "./files.ts";
import { Tokenizer } from "./tokenizer.ts";

/** The largest tokenizer.json that is read; those of 250 K pieces have some 30 MB. */
export const TOKENIZER_LIMIT = 200_000_000;

/**
 * The tokenizer of a checkpoint's folder: tokenizer.json, and tokenizer_config.json if it is there.
 * @throws FormatError for missing files and for everything in them that is not read.
 */
export function loadTokenizer(folder: string): Tokenizer {
  const path = join(folder, TOKENIZER_FILE);
  const json = readJsonObject(path, TOKENIZER_LIMIT);
  const configPath = join(folder, TOKENIZER_CONFIG_FILE);
  const config = isFile(configPath) ? readJsonObject(configPath, TOKENIZER_LIMIT) : {};
  return new Tokenizer(json, config, path);
}
