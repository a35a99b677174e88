/** What somebody may have meant by a path that leads nowhere. */

import { basename, dirname, join } from "node:path";
import { nearest } from "../dsl/problem.ts";

/** The file or folder beside a path whose name is nearest to its own, if any is near. */
export function nearby(path: string): string | undefined {
  try {
    const names = Array.from(Deno.readDirSync(dirname(path)), ({ name }) => name);
    const meant = nearest(basename(path), names);
    return meant === undefined ? undefined : join(dirname(path), meant);
  } catch {
    // No such folder, or none that may be read.
    return undefined;
  }
}
