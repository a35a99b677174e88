/** The config.json of a Hugging Face folder, from disk. */
import { join } from "node:path";
import { readJsonObject } from "../json_file.ts";
import { CONFIG_LIMIT, type ModelConfig, parseConfig } from "./config.ts";

/**
 * Reads `config.json` of a folder.
 * @throws FormatError for a missing file and for everything in it that is wrong.
 */
export function readConfig(folder: string): ModelConfig {
  const path = join(folder, "config.json");
  return parseConfig(readJsonObject(path, CONFIG_LIMIT), path);
}
