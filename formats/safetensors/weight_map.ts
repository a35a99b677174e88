/** The files of a checkpoint, and which of them holds which tensor. */
import { FormatError, type Problem, quote, show } from "../error.ts";
import { duplicateKeys, isJsonObject, parseJson } from "../json.ts";

/** The single file of a checkpoint that has one. */
export const SINGLE_FILE = "model.safetensors";

/** Which file holds which tensor, where there are several. */
export const INDEX_FILE = "model.safetensors.index.json";

/** The largest index that is read: as much as a header. */
export const INDEX_LIMIT = 100_000_000;

/**
 * Tensor name → file name of an index, checked: only names of files in the same folder pass.
 * @throws FormatError with all that is wrong with it.
 */
export function parseWeightMap(text: string, path: string): ReadonlyMap<string, string> {
  const index = parseJson(text, path);
  const weightMap = isJsonObject(index) ? index.weight_map : undefined;
  if (!isJsonObject(weightMap)) {
    throw new FormatError({
      file: path,
      at: "weight_map",
      expected: "an object that names each tensor's file",
      found: isJsonObject(index) ? show(weightMap) : show(index),
    });
  }
  const problems: Problem[] = duplicateKeys(text).map((key) => ({
    file: path,
    at: `key ${quote(key)}`,
    expected: "to be there once",
    found: "it twice",
    advice: "the index is ambiguous: download it again",
  }));
  const files = new Map<string, string>();
  for (const [tensor, file] of Object.entries(weightMap)) {
    if (typeof file === "string" && /^[^/\\:\0]+\.safetensors$/.test(file)) {
      files.set(tensor, file);
      continue;
    }
    problems.push({
      file: path,
      at: `weight_map ${quote(tensor)}`,
      expected: "the name of a .safetensors file in the same folder",
      found: show(file),
      advice: "a checkpoint may not reach outside its folder",
    });
  }
  if (problems.length > 0) throw new FormatError(problems);
  return files;
}
