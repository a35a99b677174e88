/**
 * The tensors of a Hugging Face folder: `model.safetensors`, or several files with
 * `model.safetensors.index.json`.
 */
import { join } from "node:path";
import { FormatError, type Problem, quote } from "../error.ts";
import { exists, isFolder } from "../files.ts";
import { readText } from "../json_file.ts";
import { type OpenFile, openFile, openSafetensors, type TensorInfo, TensorStore } from "./store.ts";
import { INDEX_FILE, INDEX_LIMIT, parseWeightMap, SINGLE_FILE } from "./weight_map.ts";

/**
 * Opens a checkpoint: a folder, or a single safetensors file. Where a folder has both the single
 * file and an index, the single file counts, as in transformers. Tensors that a file holds and the
 * index does not name are left out.
 * @throws FormatError with all that is wrong with index and headers.
 */
export function openCheckpoint(path: string): TensorStore {
  if (!isFolder(path)) return openSafetensors(path);
  const single = join(path, SINGLE_FILE);
  if (exists(single)) return openSafetensors(single);
  const index = join(path, INDEX_FILE);
  if (exists(index)) return openIndexed(path, index);
  throw new FormatError({
    file: path,
    expected: `${SINGLE_FILE} or ${INDEX_FILE}`,
    found: "neither",
    advice: "name a folder that holds a checkpoint in Hugging Face's form",
  });
}

/** The files that a folder's weights are in: the single one, or the index and those it names. */
export function weightFiles(folder: string): string[] {
  if (exists(join(folder, SINGLE_FILE))) return [join(folder, SINGLE_FILE)];
  const index = join(folder, INDEX_FILE);
  return [index, ...[...new Set(readIndex(index).values())].map((name) => join(folder, name))];
}

function openIndexed(folder: string, indexPath: string): TensorStore {
  const weightMap = readIndex(indexPath);
  const problems: Problem[] = [];
  const files: OpenFile[] = [];
  try {
    const found = new Map<string, ReadonlyMap<string, TensorInfo>>();
    for (const name of new Set(weightMap.values())) {
      try {
        const file = openFile(join(folder, name));
        files.push(file);
        found.set(name, new Map(file.tensors.map((tensor) => [tensor.name, tensor])));
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        problems.push(...error.problems);
      }
    }
    const tensors: TensorInfo[] = [];
    for (const [tensorName, fileName] of weightMap) {
      const names = found.get(fileName);
      if (names === undefined) continue;
      const tensor = names.get(tensorName);
      if (tensor !== undefined) tensors.push(tensor);
      else {
        problems.push({
          file: join(folder, fileName),
          at: `tensor ${quote(tensorName)}`,
          expected: `to be there, as ${INDEX_FILE} says`,
          found: "no such name",
          advice: "index and files are of different checkpoints: download them again",
        });
      }
    }
    if (problems.length > 0) throw new FormatError(problems);
    return new TensorStore(folder, files, tensors);
  } catch (error) {
    for (const { file } of files) file.close();
    throw error;
  }
}

/**
 * Reads an index: tensor name → file name.
 * @throws FormatError with all that is wrong with it.
 */
export function readIndex(path: string): ReadonlyMap<string, string> {
  return parseWeightMap(readText(path, INDEX_LIMIT), path);
}
