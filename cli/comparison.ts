/** What runs of several recipes found out, side by side: as data, as a table, as a drawing. */

import { basename, dirname, isAbsolute, relative, resolve, sep } from "node:path";
import type { DotPlot } from "./draw/dot_plot.ts";
import type { Recipe } from "../dsl/recipe.ts";
import type { KeptAttention, Report } from "../train/report.ts";
import { bytesText, countText, markdownTable } from "./terminal/table.ts";

/** The student at one point of a run. */
export interface ComparedStage {
  readonly name: string;
  readonly perplexity: number;
  /** Perplexity over the teacher's; absent without a teacher. */
  readonly ratio?: number;
}

/** One recipe of a comparison. */
export interface ComparedRun {
  readonly name: string;
  readonly output: string;
  readonly recipeHash: string;
  readonly untrained: ComparedStage;
  readonly stages: readonly ComparedStage[];
  /** Tokens and seconds of training, all stages together. */
  readonly tokens: number;
  readonly seconds: number;
  readonly parameters: number;
  readonly stateBytesAt1K: number;
  readonly stateBytesAt32K: number;
  readonly teacherPerplexity?: number;
  readonly keptAttention?: KeptAttention;
  readonly machine: string;
}

/** A recipe that could not be run to its end. */
export interface FailedRun {
  readonly name: string;
  readonly output: string;
  /** Why. */
  readonly failed: string;
}

/** All of it. */
export interface Comparison {
  /** The command that makes it. */
  readonly command: string;
  readonly recipes: readonly (ComparedRun | FailedRun)[];
}

/**
 * A name for each recipe: the last part of its output, or all of it where two would be called the
 * same.
 */
export function namesOf(recipes: readonly Pick<Recipe, "output">[]): string[] {
  const short = recipes.map(({ output }) => basename(output));
  return new Set(short).size === short.length ? short : recipes.map(({ output }) => output);
}

/**
 * The innermost folder that all outputs lie in, as they are written: relative to the current one
 * where all of them are. Undefined where absolute ones share no more than the root.
 */
export function sharedFolder(outputs: readonly string[]): string | undefined {
  const [first, ...others] = outputs.map((output) => dirname(resolve(output)));
  const holds = (folder: string) =>
    others.every((other) => other === folder || other.startsWith(folder + sep));
  let shared = first;
  while (!holds(shared) && dirname(shared) !== shared) shared = dirname(shared);
  if (!outputs.some(isAbsolute)) return relative(Deno.cwd(), shared);
  return dirname(shared) === shared ? undefined : shared;
}

/** What a report says of a recipe's run. */
export function comparedRun(name: string, output: string, report: Report): ComparedRun {
  const { untrained, stages, student, teacher, keptAttention, machine, device } = report;
  const stageOf = ({ name, perplexity, ratio }: ComparedStage) => ({ name, perplexity, ratio });
  return {
    name,
    output,
    recipeHash: report.recipeHash,
    untrained: stageOf(untrained),
    stages: stages.map(stageOf),
    tokens: stages.reduce((sum, { tokens }) => sum + tokens, 0),
    seconds: stages.reduce((sum, { seconds }) => sum + seconds, 0),
    parameters: student.parameters,
    stateBytesAt1K: student.stateBytesAt1K,
    stateBytesAt32K: student.stateBytesAt32K,
    ...(teacher && { teacherPerplexity: teacher.perplexity }),
    ...(keptAttention && { keptAttention }),
    machine: `${machine.name}, ${machine.cores} cores; ${device}`,
  };
}

const isDone = (run: ComparedRun | FailedRun): run is ComparedRun => !("failed" in run);
const done = ({ recipes }: Comparison): ComparedRun[] => recipes.filter(isDone);

/** Names of the columns, `untrained` and one a stage: by the stages' names where all agree. */
function stageNames(comparison: Comparison): string[] {
  const lists = done(comparison).map(({ stages }) => stages.map(({ name }) => name));
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, i) => {
    const names = new Set(lists.flatMap((list) => list[i] ?? []));
    return names.size === 1 ? `after ${[...names][0]}` : `after stage ${i + 1}`;
  });
}

/** Whether there are teachers to compare with; perplexities are shown where there are not. */
const hasRatios = (comparison: Comparison) =>
  done(comparison).every(({ untrained }) => untrained.ratio !== undefined);

/** What is compared. */
export const measureName = (comparison: Comparison): string =>
  hasRatios(comparison) ? "held-out perplexity over the teacher's" : "held-out perplexity";

const capital = (text: string) => text[0].toUpperCase() + text.slice(1);

/** A stage as it stands in a table. */
const cellOf = (comparison: Comparison) => {
  const ratios = hasRatios(comparison);
  return (stage: ComparedStage | undefined): string =>
    stage === undefined ? "" : ratios ? stage.ratio!.toFixed(4) : stage.perplexity.toFixed(3);
};

/** The rows of the table, the header first. */
export function tableRows(comparison: Comparison): string[][] {
  const names = stageNames(comparison);
  const cell = cellOf(comparison);
  const costs = ["tokens", "seconds", "parameters", "state at 1K", "state at 32K"];
  return [
    ["recipe", "untrained", ...names, ...costs],
    ...comparison.recipes.map((run) =>
      isDone(run)
        ? [
          run.name,
          cell(run.untrained),
          ...names.map((_, i) => cell(run.stages[i])),
          run.tokens.toLocaleString("en-US"),
          run.seconds.toFixed(1),
          run.parameters.toLocaleString("en-US"),
          bytesText(run.stateBytesAt1K),
          bytesText(run.stateBytesAt32K),
        ]
        : [run.name, "failed", ...names.map(() => ""), ...costs.map(() => "")]
    ),
  ];
}

/** The dots: one row a recipe, one series a stage. */
export function plotOf(comparison: Comparison): DotPlot {
  const names = stageNames(comparison);
  const ratios = hasRatios(comparison);
  const value = (stage: ComparedStage | undefined) => ratios ? stage?.ratio : stage?.perplexity;
  const [first] = done(comparison);
  return {
    title: `${capital(measureName(comparison))}, recipe by recipe`,
    axis: `${ratios ? "× the teacher's perplexity" : "perplexity"}, logarithmic`,
    series: names,
    columns: [ratios ? "ratio" : "perplexity", "tokens", "time", "parameters", "state 32K"],
    rows: comparison.recipes.map((run) =>
      isDone(run)
        ? {
          name: run.name,
          values: names.map((_, i) => value(run.stages[i])),
          figures: [
            cellOf(comparison)(run.stages.at(-1)),
            countText(run.tokens),
            `${run.seconds.toFixed(0)} s`,
            countText(run.parameters),
            bytesText(run.stateBytesAt32K),
          ],
        }
        : { name: run.name, values: [], figures: ["failed", "", "", "", ""] }
    ),
    ...(first && { note: first.machine }),
  };
}

/** The comparison as a page: the table, what its numbers are, the drawing. */
export function markdownOf(title: string, comparison: Comparison, drawing: string): string {
  const { recipes, command } = comparison;
  const teachers = new Set(done(comparison).flatMap((run) => run.teacherPerplexity ?? []));
  const failures = recipes.flatMap((run) => isDone(run) ? [] : [`- ${run.name}: ${run.failed}`]);
  const kept = done(comparison).flatMap(({ name, keptAttention }) =>
    keptAttention === undefined ? [] : [keptText(name, keptAttention)]
  );
  const measure = measureName(comparison);
  return [
    `# ${title}`,
    "",
    "Made by",
    "",
    `    ${command}`,
    "",
    markdownTable(tableRows(comparison)),
    "",
    `- untrained, after …: ${measure}` +
    (teachers.size === 0 ? "" : ` (${[...teachers].map((p) => p.toFixed(3)).join(", ")})`),
    "- tokens, seconds: of training, all stages together",
    "- state: bytes that one text has left behind, f32",
    ...kept,
    ...(failures.length === 0 ? [] : ["", "Failed:", "", ...failures]),
    "",
    `![${measure} after each stage, recipe by recipe](${drawing})`,
    "",
  ].join("\n");
}

function keptText(name: string, { layers, errors }: KeptAttention): string {
  const list = errors.map(({ layer, error }) => `${layer}: ${error.toFixed(5)}`).join(", ");
  return `- ${name} keeps attention in layers ${layers.join(", ")} (stage-1 errors ${list})`;
}
