/** What a hub says of a model: its commit, and its files with sizes and hashes. */

import { isCommit } from "../dsl/model_name.ts";
import { HubError } from "./error.ts";
import type { Request } from "./request.ts";

/** A file of a repository. */
export interface RemoteFile {
  readonly path: string;
  readonly bytes: number;
  /** SHA-256 of the content for a file in LFS, SHA-1 of the git blob for others, in hexadecimal. */
  readonly hash: string;
  readonly url: string;
}

/** A repository at one commit. */
export interface Repository {
  readonly commit: string;
  /** The files in its top folder, by their names. */
  readonly files: ReadonlyMap<string, RemoteFile>;
}

/** Most files in the top folder; the largest models have some two hundred. */
const FILE_LIMIT = 10_000;

/** Milliseconds until a hub that does not answer is given up. */
export const ANSWER_TIME = 30_000;

/**
 * Asks for a revision of a model.
 * @throws HubError where the hub has none, or its answer makes no sense.
 */
export async function readRepository(
  endpoint: string,
  name: string,
  revision: string,
  request: Request,
): Promise<Repository> {
  // Loaded here, since the commands that never ask a hub should not wait for it.
  const { listFiles, modelInfo } = await import("@huggingface/hub");
  const fetch: typeof globalThis.fetch = (url, init) =>
    request(url as string, { ...init, signal: AbortSignal.timeout(ANSWER_TIME) });
  const hub = { hubUrl: endpoint, fetch };
  try {
    const { sha } = await modelInfo({ ...hub, name, revision, additionalFields: ["sha"] });
    const commit = sound(sha, isCommit, "commit");
    const files = new Map<string, RemoteFile>();
    const repo = { type: "model", name } as const;
    for await (const { type, path, ...entry } of listFiles({ ...hub, repo, revision: commit })) {
      if (type !== "file") continue;
      const { oid, size } = entry.lfs ?? entry;
      const digits = entry.lfs === undefined ? 40 : 64;
      const hash = sound(oid, (text) => text.length === digits && /^[0-9a-f]+$/.test(text), "hash");
      const bytes = sound(size, (n) => Number.isSafeInteger(n) && n >= 0, "size");
      const url = `${endpoint}/${name}/resolve/${commit}/${encodeURIComponent(path)}`;
      files.set(path, { path, bytes, hash, url });
      sound(files.size, (n) => n <= FILE_LIMIT, `list of at most ${FILE_LIMIT} files`);
    }
    return { commit, files };
  } catch (error) {
    if (error instanceof HubError || !(error instanceof Error)) throw error;
    const found = `an answer of ${endpoint} that no hub gives (${error.message})`;
    throw new HubError(found, "check the network and HF_ENDPOINT", false, { cause: error });
  }
}

/** A value of an answer, checked. */
function sound<T>(value: T | undefined, test: (value: T) => boolean, what: string): T {
  if (value !== undefined && test(value)) return value;
  throw new Error(`no sound ${what}: ${JSON.stringify(value)}`);
}
