import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import {
  answer,
  contentSecurityPolicy,
  importMapOf,
  type Resource,
} from "../../../cli/page/server.ts";
import { pageHtml, pageSite } from "../../../cli/page/site.ts";
import { openSafetensors } from "../../../formats/safetensors/store.ts";
import { inspectCheckpoint } from "../../../infer/loading.ts";
import { changedCheckpoint, temporaryFolder } from "../../support/checkpoint.ts";
import { sharedPath } from "../../support/shared.ts";

const URL_OF_PAGE = "http://127.0.0.1:8000";

/** What is answered to a request for a file of the bytes 0 … 255 and a text. */
async function ask(path: string, init: RequestInit = {}, host = URL_OF_PAGE) {
  using temporary = temporaryFolder();
  const file = join(temporary.folder, "weights");
  Deno.writeFileSync(file, Uint8Array.from({ length: 256 }, (_, i) => i));
  const site = new Map<string, Resource>([
    ["/", { kind: "text", type: "text/html", text: "<p>" }],
    ["/weights", { kind: "file", type: "application/octet-stream", path: file }],
  ]);
  const response = answer(new Request(host + path, init), site, "default-src 'none'");
  const bytes = [...new Uint8Array(await response.arrayBuffer())];
  return { status: response.status, headers: response.headers, bytes };
}

const range = (text: string) => ({ headers: { range: text } });

Deno.test("server: a file as a whole, and by ranges", async () => {
  const whole = await ask("/weights");
  assertEquals([whole.status, whole.bytes.length], [200, 256]);
  assertEquals(whole.headers.get("accept-ranges"), "bytes");
  const part = await ask("/weights", range("bytes=8-11"));
  assertEquals([part.status, part.bytes], [206, [8, 9, 10, 11]]);
  assertEquals(part.headers.get("content-range"), "bytes 8-11/256");
  assertEquals(part.headers.get("content-length"), "4");
  const none = await ask("/weights", range("bytes=256-"));
  assertEquals([none.status, none.bytes], [416, []]);
  assertEquals(none.headers.get("content-range"), "bytes */256");
  const unknown = await ask("/weights", {
    headers: { range: "bytes=8-11", "if-range": '"a version"' },
  });
  assertEquals([unknown.status, unknown.bytes.length], [200, 256]);
});

Deno.test("server: HEAD has the headers alone", async () => {
  const { status, headers, bytes } = await ask("/weights", { method: "HEAD" });
  assertEquals([status, headers.get("content-length"), bytes], [200, "256", []]);
  assertEquals((await ask("/", { method: "HEAD" })).bytes, []);
});

Deno.test("server: nothing else is there, nothing can be written, no other host is answered", async () => {
  const statuses = await Promise.all([
    ask("/"),
    ask("/weights.json"),
    ask("/../weights"),
    ask("/%2e%2e/etc/passwd"),
    ask("/weights", { method: "PUT", body: "x" }),
    ask("/weights", { method: "DELETE" }),
    ask("/", {}, "http://localhost:8000"),
    ask("/", {}, "http://rebound.example:8000"),
  ]);
  assertEquals(statuses.map(({ status }) => status), [200, 404, 200, 404, 405, 405, 200, 421]);
  for (const { headers } of statuses) {
    assertEquals(headers.get("content-security-policy"), "default-src 'none'");
    assertEquals(headers.get("x-content-type-options"), "nosniff");
  }
});

Deno.test("server: the policy names the import map that the page holds", () => {
  const html = `<script type="importmap">{"imports":{"a":"/a.mjs"}}</script>`;
  assertEquals([...importMapOf(html)], [["a", "/a.mjs"]]);
  const hash = createHash("sha256").update(`{"imports":{"a":"/a.mjs"}}`).digest("base64");
  assertEquals(
    contentSecurityPolicy(html),
    `default-src 'none'; script-src 'self' 'sha256-${hash}'; style-src 'self'; img-src 'self'; ` +
      "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  );
});

Deno.test("server: the page points at nothing that the site lacks", () => {
  const checkpoint = inspectCheckpoint(sharedPath("models", "stories260k"));
  const site = pageSite([{ name: "stories", checkpoint }]);
  const links = [...pageHtml().matchAll(/\b(?:src|href)="([^"]*)"/g)].map(([, link]) => link);
  const all = [...links, ...importMapOf(pageHtml()).values()];
  assertEquals(all.filter((link) => !site.has(link)), []);
  const files = [...site.keys()].filter((path) => path.startsWith("/checkpoints/"));
  assertEquals(files.sort(), [
    "/checkpoints/0/config.json",
    "/checkpoints/0/model.safetensors",
    "/checkpoints/0/tokenizer.json",
    "/checkpoints/0/tokenizer_config.json",
  ]);
});

Deno.test("server: a file is found by the URL that a browser makes of its name", () => {
  using copy = changedCheckpoint(sharedPath("models", "stories260k"));
  const name = "weights 1 of 1 é.safetensors";
  Deno.renameSync(join(copy.folder, "model.safetensors"), join(copy.folder, name));
  using store = openSafetensors(join(copy.folder, name));
  const weight_map = Object.fromEntries([...store.tensors.keys()].map((tensor) => [tensor, name]));
  Deno.writeTextFileSync(
    join(copy.folder, "model.safetensors.index.json"),
    JSON.stringify({ weight_map }),
  );
  const site = pageSite([{ name: "stories", checkpoint: inspectCheckpoint(copy.folder) }]);
  const { url } = new Request(`${URL_OF_PAGE}/checkpoints/0/${name}`);
  assertEquals(answer(new Request(url, { method: "HEAD" }), site, "").status, 200);
});
