/** What the page's server answers: the page, its modules, and the files of its checkpoints. */

import { createHash } from "node:crypto";
import { parseRange } from "./ranges.ts";

/** Something with a URL of its own. */
export type Resource =
  | { readonly kind: "text"; readonly type: string; readonly text: string }
  | { readonly kind: "file"; readonly type: string; readonly path: string };

/** Resources by the path of their URL. */
export type Site = ReadonlyMap<string, Resource>;

const IMPORT_MAP = /<script type="importmap">(.*?)<\/script>/s;

/** The specifiers that a page's import map has, and where they lead. */
export function importMapOf(html: string): ReadonlyMap<string, string> {
  const [, json = '{"imports":{}}'] = IMPORT_MAP.exec(html) ?? [];
  return new Map(Object.entries(JSON.parse(json).imports as Record<string, string>));
}

/** Nothing from elsewhere, no code but the modules and the import map that the page holds. */
export function contentSecurityPolicy(html: string): string {
  const [, map = ""] = IMPORT_MAP.exec(html) ?? [];
  const hash = createHash("sha256").update(map).digest("base64");
  return [
    "default-src 'none'",
    `script-src 'self' 'sha256-${hash}'`,
    ...["style-src", "img-src", "connect-src"].map((what) => `${what} 'self'`),
    ...["base-uri", "form-action", "frame-ancestors"].map((what) => `${what} 'none'`),
  ].join("; ");
}

/** The bytes of a file from `begin` to before `end`, as they are taken. */
function fileBytes(path: string, begin: number, end: number): ReadableStream<Uint8Array> {
  const file = Deno.openSync(path);
  file.seekSync(begin, Deno.SeekMode.Start);
  let left = end - begin;
  return new ReadableStream({
    pull: async (controller) => {
      try {
        const chunk = new Uint8Array(Math.min(left, 1 << 20));
        const count = await file.read(chunk);
        if (count === null) throw new Error(`${path}: ended while it was being sent`);
        left -= count;
        controller.enqueue(chunk.subarray(0, count));
      } catch (error) {
        file.close();
        throw error;
      }
      if (left > 0) return;
      file.close();
      controller.close();
    },
    cancel: () => file.close(),
  });
}

/** The whole of a file, or the range that was asked for. */
function fileResponse(
  { method, headers }: Request,
  path: string,
  common: Readonly<Record<string, string>>,
): Response {
  const { size } = Deno.statSync(path);
  // No file here has a validator that If-Range could name.
  const range = headers.has("if-range") ? undefined : parseRange(headers.get("range"), size);
  if (range === "unsatisfiable") {
    return new Response(null, {
      status: 416,
      headers: { ...common, "content-range": `bytes */${size}` },
    });
  }
  const { begin, end } = range ?? { begin: 0, end: size };
  const body = method === "HEAD" || end === begin ? null : fileBytes(path, begin, end);
  return new Response(body, {
    status: range === undefined ? 200 : 206,
    headers: {
      ...common,
      "accept-ranges": "bytes",
      "content-length": String(end - begin),
      ...range === undefined ? {} : { "content-range": `bytes ${begin}-${end - 1}/${size}` },
    },
  });
}

/**
 * Answers a request. Only hosts of this machine are answered, so that no page of another site can
 * read what is here by a name that it has pointed at 127.0.0.1.
 * @param policy the page's Content-Security-Policy
 */
export function answer(request: Request, site: Site, policy: string): Response {
  const headers = {
    "content-security-policy": policy,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
  };
  const { hostname, pathname } = new URL(request.url);
  const refuse = (status: number, text: string, more: Record<string, string> = {}) =>
    new Response(text, { status, headers: { ...headers, ...more, "content-type": "text/plain" } });
  if (hostname !== "127.0.0.1" && hostname !== "localhost") {
    return refuse(421, "expected the host 127.0.0.1 or localhost\n");
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return refuse(405, "expected GET or HEAD\n", { allow: "GET, HEAD" });
  }
  const resource = site.get(pathname);
  if (resource === undefined) return refuse(404, "there is nothing here\n");
  const typed = { ...headers, "content-type": resource.type };
  if (resource.kind === "file") return fileResponse(request, resource.path, typed);
  return new Response(request.method === "HEAD" ? null : resource.text, { headers: typed });
}
