/** `deno task page`: decodes a checkpoint in a browser. */

import { basename } from "node:path";
import { inspectCheckpoint } from "../infer/loading.ts";
import { CHECKPOINT, checkpointFolder } from "./checkpoints.ts";
import { command, main } from "./command/command.ts";
import { absent, optional, text, UsageError, whole } from "./command/flags.ts";
import { answer, contentSecurityPolicy, type Site } from "./page/server.ts";
import { pageHtml, pageSite, type ServedCheckpoint } from "./page/site.ts";
import { listenForStop } from "./command/signals.ts";

/** Starts the server on this machine alone; throws UsageError where the port is taken. */
export function servePage(site: Site, port: number): Deno.HttpServer<Deno.NetAddr> {
  const policy = contentSecurityPolicy(pageHtml());
  try {
    return Deno.serve(
      { hostname: "127.0.0.1", port, onListen() {} },
      (request) => answer(request, site, policy),
    );
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new UsageError(`--port: expected a free port, found ${port} in use; 0 takes any`);
  }
}

/** The command. */
export const page = command({
  name: "page",
  summary: "serves a page that decodes a checkpoint in a browser with WebGPU",
  arguments: { CHECKPOINT },
  flags: {
    against: absent(text("TEACHER", "a second checkpoint to write beside it"), "none"),
    port: optional(whole("port of 127.0.0.1; 0 takes any that is free", 0, 65535), 8000),
  },
  run: async ({ arguments: { CHECKPOINT: named }, flags, json }, { print, say }) => {
    const served: ServedCheckpoint[] = [];
    for (const name of flags.against === undefined ? [named] : [named, flags.against]) {
      const folder = await checkpointFolder(name, say);
      served.push({ name: basename(name), checkpoint: inspectCheckpoint(folder) });
    }
    const server = servePage(pageSite(served), flags.port);
    const url = `http://127.0.0.1:${server.addr.port}/`;
    say(json ? `${url}; Ctrl-C ends it` : "Ctrl-C ends it");
    print(`${url}\n`);
    using _ = listenForStop(() => server.shutdown());
    await server.finished;
    return { report: { url, checkpoints: served.map(({ checkpoint }) => checkpoint.folder) } };
  },
});

if (import.meta.main) await main(page);
