/** Modules that are given other names for what they import. */
import type { Import } from "./imports.ts";

/** The number that stands for mod.ts, which is no module of a recipe. */
export const SUTURE = -1;

/** The source with every imported specifier replaced by what stands for it. */
export function rewritten(
  source: string,
  imports: readonly Pick<Import, "start" | "end">[],
  replacement: (index: number) => string,
): string {
  const ends = [0, ...imports.map(({ end }) => end)];
  const pieces = imports.map(({ start }, i) =>
    source.slice(ends[i], start) + JSON.stringify(replacement(i))
  );
  return pieces.join("") + source.slice(ends.at(-1));
}
