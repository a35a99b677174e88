/**
 * The cache that Python's huggingface_hub keeps, so that both share their downloads:
 *
 *     models--Qwen--Qwen2.5-0.5B-Instruct/
 *       blobs/ETAG                  a file by its hash: SHA-256, or git's SHA-1 for small ones
 *       refs/main                   the commit that a branch or tag meant when it was last asked for
 *       snapshots/COMMIT/NAME       a link to ../../blobs/ETAG
 *     .locks/models--Qwen--Qwen2.5-0.5B-Instruct/ETAG.lock
 *
 * Where links are not to be had (Windows) the file itself is in the snapshot.
 */

import { dirname, join } from "node:path";
import { isCommit } from "../dsl/model_name.ts";
import { systemError } from "../formats/error.ts";
import { exists, removeFile } from "../formats/files.ts";

/** One model in a cache. */
export interface CachedModel {
  /** The folder of the whole cache. */
  readonly cache: string;
  /** `Qwen/Qwen2.5-0.5B-Instruct`. */
  readonly name: string;
}

const folderName = ({ name }: CachedModel) => `models--${name.replaceAll("/", "--")}`;

const folderOf = (model: CachedModel) => join(model.cache, folderName(model));

/** The folder of a model as it was at a commit. */
export function snapshotFolder(model: CachedModel, commit: string): string {
  return join(folderOf(model), "snapshots", commit);
}

/** Where the bytes of a file are, by its hash. */
export function blobPath(model: CachedModel, hash: string): string {
  return join(folderOf(model), "blobs", hash);
}

/** The file that is locked while a blob is made. */
export function lockPath(model: CachedModel, hash: string): string {
  return join(model.cache, ".locks", folderName(model), `${hash}.lock`);
}

const refPath = (model: CachedModel, revision: string) => join(folderOf(model), "refs", revision);

/** The commit that a revision means as far as the cache knows. */
export function cachedCommit(model: CachedModel, revision: string): string | undefined {
  if (isCommit(revision)) return revision;
  const path = refPath(model, revision);
  try {
    const commit = Deno.readTextFileSync(path).trim();
    return isCommit(commit) ? commit : undefined;
  } catch (error) {
    // A folder: there is a revision v1/a, and this is v1.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.IsADirectory) {
      return undefined;
    }
    throw systemError(path, "read", error);
  }
}

/** Notes which commit a revision means. Readers see the old one or the new one. */
export function writeRef(model: CachedModel, revision: string, commit: string): void {
  if (isCommit(revision) || cachedCommit(model, revision) === commit) return;
  const path = refPath(model, revision);
  // Named as Python does: other processes may write the same ref at the same time.
  const partial = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.writeTextFileSync(partial, commit);
    Deno.renameSync(partial, path);
  } catch (error) {
    throw systemError(path, "write", error);
  }
}

/** Puts a blob into a snapshot under its name, unless it is there. */
export function linkBlob(model: CachedModel, commit: string, name: string, hash: string): void {
  const path = join(snapshotFolder(model, commit), name);
  try {
    if (exists(path)) return;
    Deno.mkdirSync(dirname(path), { recursive: true });
    removeFile(path);
    try {
      Deno.symlinkSync(`../../blobs/${hash}`, path, { type: "file" });
    } catch (error) {
      if (Deno.build.os !== "windows") throw error;
      Deno.renameSync(blobPath(model, hash), path);
    }
  } catch (error) {
    // Another process was faster.
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw systemError(path, "write", error);
  }
}
