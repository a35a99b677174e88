/** The files of a checkpoint: which of a repository are needed, in the cache or yet to be had. */

import { join } from "node:path";
import { FormatError } from "../formats/error.ts";
import { exists } from "../formats/files.ts";
import { CONFIG_LIMIT, type ModelConfig, parseConfig } from "../formats/hf_config/config.ts";
import { readConfig } from "../formats/hf_config/read.ts";
import { decodeUtf8, parseJson } from "../formats/json.ts";
import { readIndex } from "../formats/safetensors/checkpoint.ts";
import { INDEX_FILE, SINGLE_FILE } from "../formats/safetensors/weight_map.ts";
import { OTHER_TOKENIZER_FILES, TOKENIZER_FILE } from "../formats/tokenizer/files.ts";
import { blobPath, linkBlob, lockPath, snapshotFolder, writeRef } from "./cache.ts";
import { download, type Patience, startHash } from "./download.ts";
import { HubError } from "./error.ts";
import { ANSWER_TIME, readRepository, type RemoteFile, type Repository } from "./repository.ts";
import { type Request, requests } from "./request.ts";
import type { HubSettings } from "./settings.ts";

/** A model of a hub. */
export interface ModelId {
  readonly name: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

/** A model's files at one commit. */
export interface Snapshot {
  readonly folder: string;
  readonly commit: string;
}

/** What a download tells. */
export interface DownloadEvents {
  /** Bytes of `file` and those before it, and of all files. */
  progress(file: string, bytes: number, total: number): void;
  note(line: string): void;
}

/** What a model is. */
export const CONFIG_FILE = "config.json";

/** All but the weights; some need not exist. */
const SMALL_FILES = [
  ...[CONFIG_FILE, "generation_config.json", INDEX_FILE],
  ...[TOKENIZER_FILE, ...OTHER_TOKENIZER_FILES],
];

/** Whether the one file with all weights is there, which then counts. */
type Has = (file: string) => boolean;

/** What is needed and not there, apart from the files that an index names. */
function missing(has: Has): string[] {
  const needed = [CONFIG_FILE, TOKENIZER_FILE].filter((file) => !has(file));
  return has(SINGLE_FILE) || has(INDEX_FILE) ? needed : [...needed, SINGLE_FILE];
}

/** Names of the files that hold the weights. */
function weightFiles(folder: string, has: Has): string[] {
  return has(SINGLE_FILE)
    ? [SINGLE_FILE]
    : [...new Set(readIndex(join(folder, INDEX_FILE)).values())];
}

/** What somebody needs of a model: all of it, or its tokenizer alone. */
export type Needs = "checkpoint" | "tokenizer";

/** What a folder lacks of what is needed: nothing where it is whole. */
export function missingFiles(folder: string, needs: Needs): readonly string[] {
  const has = (file: string) => exists(join(folder, file));
  if (needs === "tokenizer") return has(TOKENIZER_FILE) ? [] : [TOKENIZER_FILE];
  const lacks = missing(has);
  return lacks.length > 0 ? lacks : weightFiles(folder, has).filter((file) => !has(file));
}

/** The files of a repository that are asked for. */
function pick({ files }: Repository, names: readonly string[]): RemoteFile[] {
  return names.flatMap((name) => files.get(name) ?? []);
}

/** Refuses a repository that is no checkpoint of the kind that is read. */
function checkFiles({ files }: Repository): void {
  const lacks = missing((file) => files.has(file));
  if (lacks.length === 0) return;
  const found = `a repository without ${lacks.join(" and ")}`;
  const advice = "name one with safetensors and a fast tokenizer in its top folder";
  throw new HubError(found, advice, false);
}

/**
 * Downloads what is not in the cache yet: first the small files, then, once config.json turns out
 * to be of a family that is read, the weights. The revision means the new commit when all is there.
 * @throws HubError for what the hub refuses; FormatError for what the system or config.json does.
 */
export async function downloadSnapshot(
  settings: HubSettings,
  { name, revision }: ModelId,
  patience: Patience,
  { progress, note }: DownloadEvents,
): Promise<Snapshot & { readonly bytes: number }> {
  const request = requests(settings, name, revision);
  const repository = await readRepository(settings.endpoint, name, revision, request);
  const { commit, files } = repository;
  checkFiles(repository);
  const model = { cache: settings.cache, name };
  const folder = snapshotFolder(model, commit);
  const sum = (list: readonly RemoteFile[]) => list.reduce((n, { bytes }) => n + bytes, 0);
  let before = 0;
  const get = async (list: readonly RemoteFile[], total: number) => {
    for (const file of list) {
      await download({
        file,
        path: blobPath(model, file.hash),
        lock: lockPath(model, file.hash),
        request,
        patience,
        onProgress: (bytes) => progress(file.path, before + bytes, total),
        onWait: () => note(`waiting for another process that downloads ${file.path}`),
      });
      linkBlob(model, commit, file.path, file.hash);
      before += file.bytes;
    }
  };
  const whole = files.has(SINGLE_FILE);
  const small = pick(repository, SMALL_FILES.filter((file) => !whole || file !== INDEX_FILE));
  // The index has yet to say which files hold the weights: usually those that are named so.
  const likely = [...files.keys()].filter((file) => /^model-.*\.safetensors$/.test(file));
  await get(small, sum([...small, ...pick(repository, whole ? [SINGLE_FILE] : likely)]));
  readConfig(folder);
  const names = weightFiles(folder, (file) => files.has(file));
  const absent = names.filter((file) => !files.has(file));
  if (absent.length > 0) {
    const found = `an index that names ${absent[0]}, which the repository does not have`;
    throw new HubError(found, "its author must complete it", false);
  }
  const weights = pick(repository, names);
  await get(weights, before + sum(weights));
  writeRef(model, revision, commit);
  return { folder, commit, bytes: before };
}

/**
 * The config of a model, without writing anything.
 * @throws HubError and FormatError
 */
export async function downloadConfig(
  settings: HubSettings,
  { name, revision }: ModelId,
): Promise<{ readonly config: ModelConfig; readonly commit: string }> {
  const request = requests(settings, name, revision);
  const repository = await readRepository(settings.endpoint, name, revision, request);
  const [file] = pick(repository, [CONFIG_FILE]);
  if (file === undefined) {
    const found = `a repository without ${CONFIG_FILE}`;
    throw new HubError(found, "name one that holds a language model", false);
  }
  const where = `${name}/${CONFIG_FILE}`;
  const text = decodeUtf8(await readSmall(file, request), where);
  return { config: parseConfig(parseJson(text, where), where), commit: repository.commit };
}

/** The bytes of a small file, checked. */
async function readSmall(file: RemoteFile, request: Request): Promise<Uint8Array> {
  if (file.bytes > CONFIG_LIMIT) {
    throw new FormatError({
      file: file.path,
      expected: `at most ${CONFIG_LIMIT} bytes`,
      found: `${file.bytes} bytes`,
      advice: "check that it is the right model",
    });
  }
  const bytes = await received(file, request);
  if (bytes !== undefined && startHash(file).update(bytes).digest("hex") === file.hash) {
    return bytes;
  }
  const what = `other bytes of ${file.path} than the hub says`;
  throw new HubError(what, "check the network, its proxy (HTTPS_PROXY) and HF_ENDPOINT", true);
}

/** As many bytes as the hub says, all of an answer; undefined where it has fewer or more. */
async function received(file: RemoteFile, request: Request): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(file.bytes);
  let filled = 0;
  try {
    const response = await request(file.url, { signal: AbortSignal.timeout(ANSWER_TIME) });
    for await (const chunk of response.body ?? []) {
      if (filled + chunk.length > bytes.length) return undefined;
      bytes.set(chunk, filled);
      filled += chunk.length;
    }
  } catch (error) {
    if (error instanceof HubError || !(error instanceof Error)) throw error;
    const found = `a cut of the connection at byte ${filled} of ${file.path} (${error.message})`;
    throw new HubError(found, "run it again", true, { cause: error });
  }
  return filled === bytes.length ? bytes : undefined;
}
