/** `deno task diff`: what two recipes do differently. */
import { differences } from "../dsl/difference.ts";
import { printable } from "../dsl/problem.ts";
import type { Recipe } from "../dsl/recipe.ts";
import { hash } from "../dsl/json.ts";
import { FormatError } from "../formats/error.ts";
import { command, main } from "./command/command.ts";
import { loadRecipe, RECIPE } from "./recipe/module.ts";
import { textColumns } from "./terminal/table.ts";
import { teacherConfig } from "./plan/teacher_config.ts";

/** Columns of a line at most; what is longer stands below one another. */
const WIDTH = 100;

/** The command. */
export const diff = command({
  name: "diff",
  summary: "tells what two recipes do differently; exit code 0 if nothing, 1 if something",
  arguments: { A: RECIPE, B: RECIPE },
  flags: {},
  run: async ({ arguments: { A, B } }, { print, columns }) => {
    // One after the other: each is given the time and memory of one.
    const a = await loadRecipe(A);
    const b = await loadRecipe(B);
    const [before, after] = [await layerCount(a), await layerCount(b)];
    const layers = before === after ? before : undefined;
    const found = differences(a, b, layers);
    for (const { path, from, to } of found) {
      const line = printable(`${path}: ${from} -> ${to}`);
      const apart = [path, `  - ${from}`, `  + ${to}`].map(printable).join("\n");
      print(`${textColumns(line) <= Math.min(columns(), WIDTH) ? line : apart}\n`);
    }
    return {
      report: { a: { hash: hash(a) }, b: { hash: hash(b) }, layers, differences: found },
      failed: found.length > 0,
    };
  },
});

/** How many layers there are for surgery, where the teacher's config.json is at hand. */
async function layerCount({ teacher }: Recipe): Promise<number | undefined> {
  if (teacher.kind === "new") return undefined;
  try {
    return (await teacherConfig(teacher))?.layers;
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

if (import.meta.main) await main(diff);
