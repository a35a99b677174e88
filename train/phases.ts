/** How long the parts of a run take. */

import type { RunEvents } from "./run.ts";

/** Does some work and tells how long it took. */
export async function phase<T>(
  { took }: Pick<RunEvents, "took">,
  what: string,
  work: () => T | Promise<T>,
): Promise<T> {
  const start = performance.now();
  const result = await work();
  took?.(what, (performance.now() - start) / 1000);
  return result;
}
