/** Writing the tensors of a Hugging Face folder, in one file or in several with an index. */
import { join } from "node:path";
import { AtomicFile } from "../atomic_file.ts";
import { quote } from "../error.ts";
import { INDEX_FILE, SINGLE_FILE } from "./weight_map.ts";
import { DEFAULT_METADATA, sourceBytes, type TensorSource, writeTensors } from "./write.ts";

/** Data of one file at most, unless a single tensor is larger: 5 GB. */
const SHARD_BYTES = 5_000_000_000;

/** How a checkpoint is written. */
export interface CheckpointOptions {
  /** Bytes of data in one file at most. Default `SHARD_BYTES`. */
  readonly shardBytes?: number;
  /** What each file says of itself. Default `DEFAULT_METADATA`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** What was written. */
export interface WrittenCheckpoint {
  /** File names in the folder, the index last. */
  readonly files: readonly string[];
  /** Bytes of all tensors. */
  readonly bytes: number;
}

/**
 * Writes a checkpoint's tensors into a folder, which is made where it is missing. Every file is
 * complete and flushed before the first is renamed, the index comes last, and then the tensor files
 * of an older checkpoint that are no longer named go.
 * @param tensors in the order in which they fill the files
 * @throws what `writeSafetensors` throws; the old files then stay as they were.
 */
export function writeCheckpoint(
  folder: string,
  tensors: readonly TensorSource[],
  options: CheckpointOptions = {},
): WrittenCheckpoint {
  const { shardBytes = SHARD_BYTES, metadata = DEFAULT_METADATA } = options;
  const shards = shard(tensors, shardBytes);
  const bytes = tensors.reduce((sum, tensor) => sum + sourceBytes(tensor), 0);
  using open = new DisposableStack();
  const files: AtomicFile[] = [];
  const weightMap: Array<[tensor: string, file: string]> = [];
  const create = (name: string): AtomicFile => {
    const file = open.use(new AtomicFile(join(folder, name)));
    files.push(file);
    return file;
  };
  const names = shards.map((_, i) => shardName(i, shards.length));
  for (const [i, part] of shards.entries()) {
    const file = create(names[i]);
    writeTensors(file, part, metadata);
    file.finish();
    for (const { name } of part) weightMap.push([name, names[i]]);
  }
  if (shards.length > 1) {
    // Keys in order, as Hugging Face writes them.
    weightMap.sort(([a], [b]) => a < b ? -1 : 1);
    const index = {
      metadata: { total_size: bytes },
      weight_map: Object.fromEntries(weightMap),
    };
    const file = create(INDEX_FILE);
    file.write(new TextEncoder().encode(`${JSON.stringify(index, null, 2)}\n`));
    file.finish();
    names.push(INDEX_FILE);
  }
  for (const file of files) file.commit();
  removeStale(folder, new Set(names));
  return { files: names, bytes };
}

/** Fills files in order: a tensor that does not fit any more begins the next. */
function shard(tensors: readonly TensorSource[], limit: number): TensorSource[][] {
  const shards: TensorSource[][] = [[]];
  const names = new Set<string>();
  let filled = 0;
  for (const tensor of tensors) {
    if (names.has(tensor.name)) throw new RangeError(`two tensors are named ${quote(tensor.name)}`);
    names.add(tensor.name);
    const bytes = sourceBytes(tensor);
    if (filled + bytes > limit && shards[shards.length - 1].length > 0) {
      shards.push([]);
      filled = 0;
    }
    shards[shards.length - 1].push(tensor);
    filled += bytes;
  }
  return shards;
}

function shardName(index: number, count: number): string {
  if (count === 1) return SINGLE_FILE;
  const digits = (n: number) => String(n).padStart(5, "0");
  return `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

/** Removes the tensor files of an older checkpoint: a reader could prefer them to the new ones. */
function removeStale(folder: string, current: ReadonlySet<string>): void {
  for (const { name } of Deno.readDirSync(folder)) {
    const ours = name === SINGLE_FILE || name === INDEX_FILE ||
      /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);
    if (ours && !current.has(name)) Deno.removeSync(join(folder, name));
  }
}
