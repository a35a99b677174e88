/**
 * A hub on 127.0.0.1, with its storage on another port, as huggingface.co answers: models by
 * revision, trees, files in git or behind a redirect. It can be told to misbehave.
 */

import { createHash } from "node:crypto";

/** A file of a repository. */
export interface HubFile {
  readonly content: Uint8Array;
  /** Whether it is in LFS: named by SHA-256, and kept by the storage. */
  readonly lfs: boolean;
}

/** A repository. */
export interface HubRepository {
  readonly commits: Readonly<Record<string, ReadonlyMap<string, HubFile>>>;
  /** Commits by branch and tag. */
  readonly refs: Record<string, string>;
  /** The token that may read it; everybody if absent. */
  readonly token?: string;
  /** Whether its licence has yet to be accepted. */
  readonly gated?: boolean;
}

/** What goes wrong with one answer of a file. */
export type Fault =
  /** The connection is cut after some bytes of the answer. */
  | { readonly kind: "cut"; readonly after: number; readonly ignoresRange?: boolean }
  /** No further byte comes after these, and no end. */
  | { readonly kind: "stall"; readonly after: number }
  /** One bit of the file is another. */
  | { readonly kind: "flip"; readonly at: number }
  /** The whole file comes, whatever was asked for. */
  | { readonly kind: "ignoresRange" }
  /** The file is longer or shorter than the hub says. */
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "status"; readonly status: number };

/** A request that was made. */
export interface Logged {
  readonly host: "hub" | "storage";
  readonly path: string;
  readonly range: string | null;
  readonly authorization: string | null;
}

/** A hub that runs. */
export interface HubServer extends AsyncDisposable {
  readonly endpoint: string;
  readonly log: Logged[];
  /** Taken by the next answers of files, one by one; then they are right. */
  readonly faults: Fault[];
  /** Entries of a page of a tree. */
  pageSize: number;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const gitSha1 = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** The hash that a hub names a file by. */
export function hashOf({ content, lfs }: HubFile): string {
  return lfs ? sha256(content) : gitSha1(content);
}

const refused = (status: number, code: string, message = code) =>
  Response.json({ error: message }, {
    status,
    headers: { "x-error-code": code, "x-error-message": message },
  });

/** The answer to a request for a file, with what goes wrong. */
function fileResponse(
  request: Request,
  content: Uint8Array,
  fault: Fault | undefined,
  etag: string,
): Response {
  if (fault?.kind === "status") return new Response("no", { status: fault.status });
  let bytes = content.slice();
  if (fault?.kind === "flip") bytes[fault.at] ^= 1;
  if (fault?.kind === "length") {
    const longer = new Uint8Array(fault.bytes);
    longer.set(bytes.subarray(0, fault.bytes));
    bytes = longer;
  }
  const ignores = fault?.kind === "ignoresRange" || (fault?.kind === "cut" && fault.ignoresRange);
  const [, first] = /^bytes=(\d+)-/.exec(request.headers.get("range") ?? "") ?? [];
  const from = first === undefined || ignores ? 0 : Number(first);
  const headers = new Headers({ "accept-ranges": "bytes", etag: `"${etag}"` });
  if (from > 0 && from >= bytes.length) {
    headers.set("content-range", `bytes */${bytes.length}`);
    return new Response(null, { status: 416, headers });
  }
  const part = bytes.subarray(from);
  headers.set("content-length", `${part.length}`);
  if (from > 0) {
    headers.set("content-range", `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
  }
  const status = from > 0 ? 206 : 200;
  if (request.method === "HEAD") return new Response(null, { status, headers });
  if (fault?.kind !== "cut" && fault?.kind !== "stall") {
    return new Response(part, { status, headers });
  }
  let sent = false;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      if (!sent) controller.enqueue(part.subarray(0, fault.after));
      else if (fault.kind === "cut") controller.error(new Error("cut"));
      sent = true;
    },
  });
  return new Response(body, { status, headers });
}

/**
 * Starts a hub with these models.
 * @param storageHost how the hub calls the host of its storage
 */
export function serveHub(
  models: Readonly<Record<string, HubRepository>>,
  storageHost = "127.0.0.1",
): HubServer {
  const log: Logged[] = [];
  const faults: Fault[] = [];
  const settings = { pageSize: 1000 };
  const blobs = new Map<string, HubFile>();
  for (const { commits } of Object.values(models)) {
    for (const files of Object.values(commits)) {
      for (const file of files.values()) blobs.set(hashOf(file), file);
    }
  }
  const note = (host: "hub" | "storage", request: Request) => {
    const { pathname } = new URL(request.url);
    const { headers } = request;
    const authorization = headers.get("authorization");
    log.push({ host, path: pathname, range: headers.get("range"), authorization });
    return pathname;
  };
  const quiet = {
    hostname: "127.0.0.1",
    port: 0,
    onListen: () => {},
    onError: () => new Response("a bug of the test's hub", { status: 400 }),
  };

  const storage = Deno.serve(quiet, (request) => {
    const hash = note("storage", request).slice(1);
    const file = blobs.get(hash);
    if (file === undefined) return new Response("no", { status: 404 });
    return fileResponse(request, file.content, faults.shift(), hash);
  });
  const storageUrl = `http://${storageHost}:${storage.addr.port}`;

  const hub = Deno.serve(quiet, (request) => {
    note("hub", request);
    const path = new URL(request.url).pathname;
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)/.exec(path);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const [, name, what, revision] = (api ?? []).map(decodeURIComponent);
    const repository = models[name ?? resolve?.[1] ?? ""];
    const authorization = request.headers.get("authorization");
    const known = authorization === null || authorization.startsWith("Bearer hf_");
    if (!known) return refused(401, "", "Invalid credentials in Authorization header");
    const may = repository?.token === undefined || authorization === `Bearer ${repository.token}`;
    if (repository === undefined || !may) {
      return authorization === null
        ? refused(401, "", "Invalid username or password.")
        : refused(404, "RepoNotFound", "Repository not found");
    }
    const wanted = revision ?? decodeURIComponent(resolve![2]);
    const commit = repository.refs[wanted] ?? wanted;
    const files = repository.commits[commit];
    if (files === undefined) return refused(404, "RevisionNotFound", `Invalid rev id: ${wanted}`);
    if (what === "revision") {
      return Response.json({ _id: "1", id: name, sha: commit, private: false, gated: false });
    }
    if (what === "tree") {
      const all = [...files].map(([path, file]) => ({
        type: "file",
        path,
        oid: file.lfs ? "0".repeat(40) : hashOf(file),
        size: file.content.length,
        ...(file.lfs
          ? { lfs: { oid: hashOf(file), size: file.content.length, pointerSize: 130 } }
          : {}),
      }));
      const url = new URL(request.url);
      const start = Number(url.searchParams.get("cursor") ?? 0);
      const end = start + settings.pageSize;
      url.searchParams.set("cursor", `${end}`);
      const headers = new Headers(end < all.length ? { link: `<${url}>; rel="next"` } : {});
      const folder = { type: "directory", path: "original", oid: "0".repeat(40), size: 0 };
      return Response.json([...all.slice(start, end), ...(start === 0 ? [folder] : [])], {
        headers,
      });
    }
    if (repository.gated) return refused(403, "GatedRepo", "Access to model is restricted");
    const file = files.get(resolve![3]);
    if (file === undefined) return refused(404, "EntryNotFound", "Entry not found");
    if (!file.lfs) {
      const response = fileResponse(request, file.content, faults.shift(), hashOf(file));
      response.headers.set("x-repo-commit", commit);
      return response;
    }
    return new Response(null, {
      status: 302,
      headers: {
        location: `${storageUrl}/${hashOf(file)}`,
        "x-repo-commit": commit,
        "x-linked-etag": `"${hashOf(file)}"`,
        "x-linked-size": `${file.content.length}`,
      },
    });
  });
  return Object.assign(settings, {
    endpoint: `http://127.0.0.1:${hub.addr.port}`,
    log,
    faults,
    async [Symbol.asyncDispose]() {
      await Promise.all([hub.shutdown(), storage.shutdown()]);
    },
  });
}
