/**
 * One file from a hub into the cache: goes on after a cut, and is there only once size and hash are
 * right. (`downloadFileToCacheDir` of @huggingface/hub begins anew after every cut, in a file that
 * two processes may write at once, and checks neither.)
 */

import { createHash, type Hash } from "node:crypto";
import { dirname } from "node:path";
import { FormatError, systemError } from "../formats/error.ts";
import { exists } from "../formats/files.ts";
import { HubError } from "./error.ts";
import type { RemoteFile } from "./repository.ts";
import type { Request } from "./request.ts";

/** How long a connection that fails is tried again. */
export interface Patience {
  /** Attempts without a further byte until it is given up. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; each further one waits twice as long. */
  readonly pause: number;
  /** Milliseconds without a byte until a connection counts as cut. */
  readonly stall: number;
}

/** As patient as huggingface_hub. */
export const PATIENCE: Patience = { attempts: 5, pause: 1000, stall: 30_000 };

/** What a download needs. */
export interface Download {
  readonly file: RemoteFile;
  /** Where the file goes; until it is whole it is beside, as `.incomplete`. */
  readonly path: string;
  /** The file that processes lock which share the cache. */
  readonly lock: string;
  readonly request: Request;
  readonly patience: Patience;
  /** How many bytes of the file there are. */
  onProgress(bytes: number): void;
  /** Another process downloads the same file: it is waited for. */
  onWait(): void;
}

/** Bytes of a partial file that are read at a time. */
const BLOCK_BYTES = 1 << 22;

/**
 * Downloads a file, unless it is there.
 * @throws HubError where the hub refuses, the connection stays cut or the bytes are wrong;
 * FormatError where the system refuses.
 */
export async function download(options: Download): Promise<void> {
  const { file, path, lock, onProgress, onWait } = options;
  try {
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.mkdirSync(dirname(lock), { recursive: true });
    // The lock of huggingface_hub: flock, which ends with the process.
    using locked = Deno.openSync(lock, { read: true, write: true, create: true });
    if (!await locked.tryLock(true)) {
      onWait();
      await locked.lock(true);
    }
    if (exists(path)) onProgress(file.bytes);
    else await complete(options);
  } catch (error) {
    throw systemError(path, "write", error);
  }
}

/** A file that grows, and the hash of what it has. */
interface Partial {
  readonly file: Deno.FsFile;
  bytes: number;
  hash: Hash;
}

/** The hash that the hub names a file by, before the first byte. */
export function startHash({ hash, bytes }: RemoteFile): Hash {
  if (hash.length === 64) return createHash("sha256");
  return createHash("sha1").update(`blob ${bytes}\0`);
}

/** Begins the file anew. */
function restart(partial: Partial, wanted: RemoteFile): void {
  partial.file.truncateSync(0);
  partial.file.seekSync(0, Deno.SeekMode.Start);
  partial.bytes = 0;
  partial.hash = startHash(wanted);
}

/** Opens what there is of a file. */
function openPartial(path: string, wanted: RemoteFile): Partial {
  const file = Deno.openSync(path, { read: true, write: true, create: true });
  const partial = { file, bytes: 0, hash: startHash(wanted) };
  if (file.statSync().size > wanted.bytes) {
    restart(partial, wanted);
    return partial;
  }
  const block = new Uint8Array(BLOCK_BYTES);
  for (let count = file.readSync(block); count !== null; count = file.readSync(block)) {
    partial.hash.update(block.subarray(0, count));
    partial.bytes += count;
  }
  return partial;
}

/** Gets what is missing of a file, checks the whole and puts it in its place. */
async function complete(options: Download): Promise<void> {
  const { file, path, onProgress } = options;
  const incomplete = `${path}.incomplete`;
  const partial = openPartial(incomplete, file);
  onProgress(partial.bytes);
  try {
    let found = await received(partial, options);
    if (found !== file.hash) {
      // What an earlier process left may be at fault: once more from the first byte.
      restart(partial, file);
      found = await received(partial, options);
    }
    if (found !== file.hash) {
      restart(partial, file);
      const kind = file.hash.length === 64 ? "SHA-256" : "git SHA-1";
      throw new HubError(
        `${file.path} with ${kind} ${found} in place of ${file.hash}, twice`,
        "a proxy or mirror changes it: check HTTPS_PROXY and HF_ENDPOINT",
        false,
      );
    }
    partial.file.syncSync();
  } finally {
    partial.file.close();
  }
  Deno.renameSync(incomplete, path);
}

/** Receives until all bytes are there, over as many connections as it takes; returns the hash. */
async function received(partial: Partial, options: Download): Promise<string> {
  const { file, patience: { attempts, pause } } = options;
  let furthest = partial.bytes;
  let failures = 0;
  while (partial.bytes < file.bytes) {
    let why: HubError;
    try {
      await receive(partial, options);
      why = new HubError(
        `the end of ${file.path} after ${partial.bytes} bytes of ${file.bytes}`,
        "run it again: it goes on from there",
        true,
      );
    } catch (error) {
      if (!(error instanceof HubError) || !error.passing) throw error;
      why = error;
    }
    if (partial.bytes === file.bytes) break;
    failures = partial.bytes > furthest ? 1 : failures + 1;
    furthest = Math.max(furthest, partial.bytes);
    if (failures >= attempts) throw why;
    await new Promise((resolve) => setTimeout(resolve, pause * 2 ** (failures - 1)));
  }
  return partial.hash.digest("hex");
}

/** Receives from one connection, as far as that goes. */
async function receive(partial: Partial, options: Download): Promise<void> {
  const { file, request, patience: { stall }, onProgress } = options;
  const abort = new AbortController();
  const giveUp = () =>
    abort.abort(new HubError(`no byte for ${stall / 1000} seconds`, "try again later", true));
  let timer = setTimeout(giveUp, stall);
  try {
    // Compressed parts of a file could not be joined.
    const headers = new Headers({ "accept-encoding": "identity" });
    if (partial.bytes > 0) headers.set("range", `bytes=${partial.bytes}-`);
    const response = await request(file.url, { headers, signal: abort.signal });
    const goesOn = response.status === 206 &&
      response.headers.get("content-range")?.startsWith(`bytes ${partial.bytes}-`);
    if (!goesOn && partial.bytes > 0) restart(partial, file);
    if (!response.ok || (response.status === 206 && !goesOn)) {
      await response.body?.cancel();
      return;
    }
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      timer = setTimeout(giveUp, stall);
      append(partial, chunk, options);
      onProgress(partial.bytes);
    }
  } catch (error) {
    if (error instanceof HubError || error instanceof FormatError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    const found = `a cut of the connection at byte ${partial.bytes} of ${file.path} (${why})`;
    throw new HubError(found, "run it again: it goes on from there", true, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function append(partial: Partial, chunk: Uint8Array, { file, path }: Download): void {
  if (partial.bytes + chunk.length > file.bytes) {
    throw new HubError(
      `more bytes of ${file.path} than the ${file.bytes} that the hub says`,
      "a proxy or mirror changes it: check HTTPS_PROXY and HF_ENDPOINT",
      false,
    );
  }
  try {
    for (let rest = chunk as Uint8Array<ArrayBuffer>; rest.length > 0;) {
      rest = rest.subarray(partial.file.writeSync(rest));
    }
  } catch (error) {
    throw systemError(path, "write", error);
  }
  partial.hash.update(chunk);
  partial.bytes += chunk.length;
}
