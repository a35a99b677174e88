/** Everything that the page's server has. */

import { fileURLToPath } from "node:url";
import type { Checkpoint } from "../../infer/loading.ts";
import type { Models } from "../../page/models.ts";
import { checkpointFiles } from "./checkpoint_files.ts";
import { collectModules } from "./modules.ts";
import { importMapOf, type Resource, type Site } from "./server.ts";

const ROOT = new URL("../../", import.meta.url);
/** The module that the page begins with. */
const ENTRY = "page/main.ts";
const SCRIPT = "text/javascript; charset=utf-8";

const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));

/** The page without its modules. */
export const pageHtml = (): string => read("page/index.html");

/** The module of a package, which browsers load as it is. */
const packageFile = (specifier: string) =>
  Deno.readTextFileSync(fileURLToPath(import.meta.resolve(specifier)));

/** A checkpoint and what it is called. */
export interface ServedCheckpoint {
  readonly name: string;
  readonly checkpoint: Checkpoint;
}

/**
 * The page's site: the student, and the teacher beside it where there is one.
 * @throws Error for a module that a browser could not load.
 */
export function pageSite(checkpoints: readonly ServedCheckpoint[]): Site {
  const html = pageHtml();
  const imports = importMapOf(html);
  const modules = collectModules(ENTRY, read, new Set(imports.keys()));
  const text = (type: string, text: string): Resource => ({ kind: "text", type, text });
  const own = checkpoints.map(({ checkpoint }) => checkpointFiles(checkpoint));
  const models: Models = checkpoints.map(({ name }, i) => ({
    name,
    folder: `/checkpoints/${i}`,
    files: [...own[i].keys()],
  }));
  const files = models.flatMap(({ folder }, i) =>
    [...own[i]].map(([name, path]): [string, Resource] => [
      // As a browser asks for it: spaces and letters beyond ASCII are encoded.
      new URL(`${folder}/${name}`, "http://localhost").pathname,
      {
        kind: "file",
        type: name.endsWith(".json") ? "application/json" : "application/octet-stream",
        path,
      },
    ])
  );
  return new Map([
    ["/", text("text/html; charset=utf-8", html)],
    ["/page/style.css", text("text/css; charset=utf-8", read("page/style.css"))],
    ["/page/icon.svg", text("image/svg+xml", read("page/icon.svg"))],
    ["/models.json", text("application/json", JSON.stringify(models))],
    ...[...imports].map(([specifier, path]): [string, Resource] => [
      path,
      text(SCRIPT, packageFile(specifier)),
    ]),
    ...[...modules].map(([path, code]): [string, Resource] => [`/${path}`, text(SCRIPT, code)]),
    ...files,
  ]);
}
