/** `deno task convert`: runs a recipe. */

import { printable } from "../dsl/problem.ts";
import { build, type Recipe } from "../dsl/recipe.ts";
import { isUnwritten } from "../formats/error.ts";
import { isFolder } from "../formats/files.ts";
import { planOf } from "../plan/plan.ts";
import { runFolderOf, runRecipe } from "../train/conversion.ts";
import { NotFiniteError } from "../train/finite.ts";
import { OUTPUT_DTYPES } from "../train/output.ts";
import type { InferenceReport, KeptAttention, Report, StageReport } from "../train/report.ts";
import type { RunOutcome } from "../train/run.ts";
import { trainedParameters } from "../train/stage_graph.ts";
import { SCRATCH_BYTES } from "../train/by_layer/windows.ts";
import { localRecipe } from "./checkpoints.ts";
import { command, main } from "./command/command.ts";
import { debugLevel } from "./debug.ts";
import { deviceFlags, withDevice } from "./device.ts";
import {
  absent,
  choice,
  optional,
  path,
  real,
  seconds,
  toggle,
  UsageError,
  whole,
} from "./command/flags.ts";
import { mixerFlops } from "./plan/layer_flops.ts";
import { outlineText } from "./plan/text.ts";
import { modelsOf } from "./plan/models.ts";
import { standardProgress } from "./terminal/progress.ts";
import { memoryOf, warnOfMemory } from "./plan/memory_need.ts";
import { loadRecipe, RECIPE } from "./recipe/module.ts";
import { resumeCommand } from "./command/command_line.ts";
import { ratioText, runEvents } from "./run_events.ts";
import { listenForStop } from "./command/signals.ts";
import { bytesText, paragraph, sideBySide, table } from "./terminal/table.ts";

/** Columns that the samples take at most. */
const WIDTH = 100;

const FLAGS = {
  out: absent(path("DIR", "where the result goes"), "the recipe's output"),
  resume: toggle("go on where an earlier run of the same recipe stopped"),
  restart: toggle("begin anew where an earlier run of the same recipe was stopped"),
  seed: absent(whole("seed of initial values", 0, 2 ** 32 - 1), "the recipe's seed"),
  dtype: optional(choice("type of the weights that are written", OUTPUT_DTYPES), "float32"),
  "checkpoint-every": optional(
    seconds("time between checkpoints, more where they take long; 0 is after every step"),
    30,
  ),
  scratch: optional(
    real(
      "GB",
      "disk that streamed stages may take for their streams",
      "GB above 0",
      (gb) => gb > 0,
    ),
    SCRATCH_BYTES / 1e9,
  ),
  ...deviceFlags,
};

/** The command. */
export const convert = command({
  name: "convert",
  summary: "runs a recipe: converts its teacher, or trains its new model, stage by stage",
  arguments: { RECIPE },
  flags: FLAGS,
  run: async ({ arguments: { RECIPE: named }, flags }, { print, say, columns }) => {
    if (flags.resume && flags.restart) {
      throw new UsageError("--resume: expected either this or --restart, found both");
    }
    const written = await loadRecipe(named);
    const seeded = flags.seed === undefined ? written : build({ ...written, seed: flags.seed });
    const out = flags.out ?? seeded.output;
    const progress = standardProgress(say);
    const listen = () =>
      listenForStop(() => progress.note("stopping after this step; a second signal ends at once"));
    const goOn = () => resumeCommand("convert", [named], FLAGS, { ...flags, restart: false });
    let folder: string | undefined;
    try {
      const { recipe, folderOf } = await localRecipe(seeded, progress);
      folder = runFolderOf(recipe, out);
      if (debugLevel() > 0) say(await outline(recipe));
      const memory = await memoryOf(recipe);
      const outcome = await withDevice({ ...flags, memory }, say, (device) => {
        warnOfMemory(device, memory, say);
        return runRecipe(recipe, {
          device,
          out,
          resume: flags.resume,
          restart: flags.restart,
          dtype: flags.dtype,
          checkpointSeconds: flags["checkpoint-every"],
          scratchBytes: 1e9 * flags.scratch,
          folderOf,
          events: runEvents(progress),
          listen,
        });
      });
      progress.end();
      if (outcome.kind === "stopped") {
        say(stoppedText(outcome, goOn()));
        return { report: { ...outcome }, failed: true };
      }
      const { report, before } = outcome;
      if (before) say(`there is nothing to do: ${out} is this recipe's result already`);
      print(`\n${reportText(report, out, columns())}`);
      return { report: { ...report } };
    } catch (error) {
      progress.end();
      // A full disk is not the input's fault: what was trained until then is there to go on with.
      if (isUnwritten(error) && folder !== undefined && isFolder(folder)) {
        say(`convert: ${error.message}\n${keptText(folder, goOn())}`);
        return { report: { error: error.message, folder }, failed: true };
      }
      if (!(error instanceof NotFiniteError)) throw error;
      say(`convert: ${error.message}`);
      return { report: { error: error.message }, failed: true };
    }
  },
});

/** What DEBUG shows first: the recipe's layers and stages. */
async function outline(recipe: Recipe): Promise<string> {
  const { student, from } = await modelsOf(recipe);
  const trained = (i: number) => trainedParameters(recipe.stages[i], student, from?.spec);
  return outlineText(planOf(recipe, student, trained, from), mixerFlops(student));
}

function stoppedText(
  { name, step, steps, folder }: Extract<RunOutcome, { kind: "stopped" }>,
  command: string,
): string {
  return `stopped in ${name} after step ${step} of ${steps}; ${keptText(folder, command)}`;
}

const keptText = (folder: string, command: string) =>
  `what is done so far is in ${folder}\nGo on with: ${command}`;

/** The stage-1 errors that attention was kept by. */
function errorsText({ layers, errors }: KeptAttention): string {
  return table([
    ["layer", "stage-1 error", ""],
    ...errors.map(({ layer, error }) => [
      `${layer}`,
      error.toFixed(5),
      layers.includes(layer) ? "keeps attention" : "",
    ]),
  ]);
}

/** The table and the samples that a run ends with, for a terminal of so many columns. */
function reportText(report: Report, out: string, columns = Infinity): string {
  const { teacher, student, untrained, stages } = report;
  const contexts = [...(teacher ? [teacher] : []), untrained, ...stages].map((m) => m.context);
  // Models predict better with more context: where it differs it must be seen.
  const mixed = new Set(contexts).size > 1;
  const contextOf = (measured: { readonly context: number }) =>
    mixed ? [`${measured.context}`] : [];
  const costs = ({ stateBytesAt1K, stateBytesAt32K }: InferenceReport, speed: string) => [
    bytesText(stateBytesAt1K),
    bytesText(stateBytesAt32K),
    speed,
  ];
  const stageRow = (label: string, stage: StageReport, speed: string) => [
    label,
    stage.tokens === 0 ? "" : stage.tokens.toLocaleString("en-US"),
    stage.tokens === 0 ? "" : `${stage.seconds.toFixed(1)} s`,
    ...contextOf(stage),
    stage.loss.toFixed(4),
    stage.perplexity.toFixed(3),
    ratioText(stage.ratio),
    ...costs(student, speed),
  ];
  const last = stages.length - 1;
  const speedOf = (n: number | undefined) => n?.toFixed(0) ?? "";
  const rows = [
    [
      "",
      "tokens",
      "time",
      ...(mixed ? ["context"] : []),
      "loss",
      "perplexity",
      "to teacher",
      "state 1K",
      "state 32K",
      "tokens/s",
    ],
    ...(teacher === undefined ? [] : [[
      "teacher",
      "",
      "",
      ...contextOf(teacher),
      teacher.loss.toFixed(4),
      teacher.perplexity.toFixed(3),
      ratioText(1),
      ...costs(teacher, speedOf(teacher.tokensPerSecond)),
    ]]),
    stageRow(teacher === undefined ? "random" : "student, untrained", untrained, ""),
    ...stages.map((stage, i) =>
      stageRow(`after ${stage.name}`, stage, i === last ? speedOf(student.tokensPerSecond) : "")
    ),
  ];
  const prompt = `after ${printable(JSON.stringify(report.prompt))}`;
  const after = `\n${paragraph(prompt, columns)}\n\n`;
  // Models write whatever bytes they like.
  const [mine, theirs] = [student, teacher].map((model) => printable(model?.sample ?? ""));
  const samples = teacher === undefined ? `${paragraph(`model: ${mine}`, columns)}\n` : sideBySide(
    { title: "teacher", text: theirs },
    { title: "student", text: mine },
    Math.min(WIDTH, columns),
  );
  return [
    table(rows, columns),
    mixed && teacher !== undefined
      ? "to teacher: to the teacher's perplexity at this context\n"
      : "",
    report.keptAttention === undefined ? "" : `\n${errorsText(report.keptAttention)}`,
    // A model that stayed on disk writes none.
    student.sample === undefined ? "" : after + samples,
    `\n${out} in ${report.seconds.toFixed(0)} s, ` +
    `${bytesText(report.peakMemory.process)} of memory at most\n`,
  ].join("");
}

if (import.meta.main) await main(convert);
