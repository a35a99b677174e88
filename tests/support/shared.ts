/** The files that lie beside the repository: golden values, models, text. */

/** Path of a file in ../shared, or in the folder that SUTURE_SHARED names. */
export function sharedPath(...parts: readonly string[]): string {
  const root = Deno.env.get("SUTURE_SHARED") ??
    decodeURIComponent(new URL("../../../shared", import.meta.url).pathname);
  return [root, ...parts].join("/");
}
