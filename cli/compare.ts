/** `deno task compare`: runs several recipes and puts what they found out side by side. */

import { basename, join, resolve } from "node:path";
import { printable, type Problem, RecipeError } from "../dsl/problem.ts";
import { writeFileAtomic, writeJsonAtomic } from "../formats/atomic_file.ts";
import type { Problem as FileProblem } from "../formats/error.ts";
import { isBegun, runRecipe } from "../train/conversion.ts";
import { NotFiniteError } from "../train/finite.ts";
import { originOf } from "../train/origin.ts";
import { checkData } from "../train/preparation.ts";
import { fileProblems, type OnProgress, problemsOf } from "../train/sources.ts";
import { stageProblems } from "../train/stage_graph.ts";
import { type LocalRecipe, localRecipe } from "./checkpoints.ts";
import { command, main } from "./command/command.ts";
import {
  type ComparedRun,
  comparedRun,
  type Comparison,
  type FailedRun,
  markdownOf,
  measureName,
  namesOf,
  plotOf,
  sharedFolder,
  tableRows,
} from "./comparison.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { dotPlotSvg } from "./draw/dot_plot.ts";
import { absent, optional, path, seconds, UsageError } from "./command/flags.ts";
import { standardProgress } from "./terminal/progress.ts";
import { shown } from "./recipe/error.ts";
import { memoryOf, warnOfMemory } from "./plan/memory_need.ts";
import { loadRecipes, moduleTitle, RecipeModuleError, RECIPES } from "./recipe/module.ts";
import { commandLine } from "./command/command_line.ts";
import { runEvents } from "./run_events.ts";
import { listenForStop } from "./command/signals.ts";
import { table } from "./terminal/table.ts";

const FLAGS = {
  out: absent(
    path("PREFIX", "writes PREFIX.md, PREFIX.json and PREFIX.svg"),
    "the name of RECIPES in the folder that the recipes' outputs share",
  ),
  "checkpoint-every": optional(seconds("time between checkpoints of a run"), 30),
  ...deviceFlags,
};

/** Problems of files as those of a recipe's data. */
const ofData = (problems: readonly FileProblem[]): readonly Problem[] =>
  problems.map(({ file, at, expected, found, advice }) => ({
    path: `data: ${file}${at === undefined ? "" : `: ${at}`}`,
    expected,
    found,
    hint: advice,
  }));

/** Finds what is wrong with any of the recipes, or with their data, before one of them is run. */
function check(
  recipes: readonly LocalRecipe[],
  names: readonly string[],
  onProgress: OnProgress,
): void {
  const problems: Problem[] = [];
  recipes.forEach(({ recipe, folderOf }, i) => {
    const out = resolve(recipe.output);
    const other = recipes.findIndex((one) => resolve(one.recipe.output) === out);
    const add = (found: readonly Problem[]) =>
      problems.push(...found.map((problem) => ({ ...problem, path: `[${i}].${problem.path}` })));
    if (other < i) {
      const expected = "an output of its own";
      add([{ path: "output", expected, found: `that of ${names[other]}` }]);
    }
    // What is begun has its tokens already.
    const begins = !isBegun(recipe, recipe.output);
    if (recipe.teacher.kind === "new") {
      // Its tokenizer is made of the data when it is run.
      if (begins) add(ofData(recipe.data.flatMap(fileProblems)));
      return;
    }
    try {
      const origin = originOf(recipe, undefined, () => {}, folderOf);
      const { student, teacher, hybrid } = origin;
      add(stageProblems(recipe, student, teacher?.spec, hybrid?.choice));
      if (begins) add(ofData(problemsOf(() => checkData(recipe, origin, onProgress))));
    } catch (error) {
      if (!(error instanceof RecipeError)) throw error;
      add(error.problems);
    }
  });
  if (problems.length > 0) throw new RecipeError(problems, "the recipes");
}

/** Where the tables go unless --out says otherwise. */
function defaultPrefix(named: string, outputs: readonly string[]): string {
  const folder = sharedFolder(outputs);
  if (folder !== undefined) return join(folder, moduleTitle(named));
  const list = outputs.map(printable).join(", ");
  throw new UsageError(`--out: expected a prefix, found outputs that share no folder: ${list}`);
}

/** The command. */
export const compare = command({
  name: "compare",
  summary: "runs every recipe of a module that is not done yet, and compares what they became",
  arguments: { RECIPES },
  flags: FLAGS,
  run: async ({ arguments: { RECIPES: named }, flags }, { print, say, columns }) => {
    const progress = standardProgress(say);
    const { recipes: written, list } = await loadRecipes(named);
    if (!list) {
      const advice = `Run it with: deno task convert ${shown(named)}`;
      throw new RecipeModuleError(shown(named), "it is one recipe, and no list of them", advice);
    }
    const locals = await Array.fromAsync(written, (recipe) => localRecipe(recipe, progress));
    const recipes = locals.map(({ recipe }) => recipe);
    const names = namesOf(recipes);
    check(locals, names, progress.count);
    const title = moduleTitle(named);
    const prefix = flags.out ?? defaultPrefix(named, recipes.map(({ output }) => output));
    const line = commandLine("compare", [named], FLAGS, flags);
    const listen = () =>
      listenForStop(() => progress.note("stopping after this step; a second signal ends at once"));
    const run = async (device: Parameters<typeof runRecipe>[1]["device"], i: number) => {
      const { output } = recipes[i];
      progress.note(`recipe ${i + 1} of ${recipes.length}: ${printable(names[i])}`);
      try {
        return await runRecipe(recipes[i], {
          device,
          out: output,
          // What is done is found, and what was stopped goes on.
          resume: "if any",
          dtype: "float32",
          folderOf: locals[i].folderOf,
          checkpointSeconds: flags["checkpoint-every"],
          events: runEvents(progress),
          listen,
        });
      } catch (error) {
        if (!(error instanceof NotFiniteError)) throw error;
        progress.note(error.message);
        return { kind: "failed", name: names[i], output, failed: error.message } as const;
      } finally {
        progress.end();
      }
    };
    const memory = Math.max(0, ...await Array.fromAsync(recipes, memoryOf));
    return await withDevice({ ...flags, memory }, say, async (device) => {
      warnOfMemory(device, memory, say);
      const runs: (ComparedRun | FailedRun)[] = [];
      for (const [i, { output }] of recipes.entries()) {
        const outcome = await run(device, i);
        if (outcome.kind === "stopped") {
          const { name, step, steps } = outcome;
          say(
            `stopped in ${names[i]}, ${name}, after step ${step} of ${steps}\nGo on with: ${line}`,
          );
          return { report: { ...outcome, recipe: names[i] }, failed: true };
        }
        if (outcome.kind === "done") runs.push(comparedRun(names[i], output, outcome.report));
        else runs.push({ name: outcome.name, output, failed: outcome.failed });
      }
      const comparison: Comparison = { command: line, recipes: runs };
      const page = markdownOf(title, comparison, `${basename(prefix)}.svg`);
      writeFileAtomic(`${prefix}.svg`, dotPlotSvg(plotOf(comparison)));
      writeJsonAtomic(`${prefix}.json`, comparison);
      writeFileAtomic(`${prefix}.md`, page);
      print(`${measureName(comparison)}\n\n${table(tableRows(comparison), columns())}\n`);
      print(`${prefix}.md, ${prefix}.json, ${prefix}.svg\n`);
      const failed = runs.some((run) => "failed" in run);
      return { report: { ...comparison }, failed };
    });
  },
});

if (import.meta.main) await main(compare);
