/** Everything that a run needs on its device and in its folder before it can begin. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf, type Store } from "../devices/store.ts";
import { type Problem, RecipeError } from "../dsl/problem.ts";
import { measuredAfter, type Recipe } from "../dsl/recipe.ts";
import type { Source } from "../dsl/sources.ts";
import { FormatError } from "../formats/error.ts";
import type { ModelConfig } from "../formats/hf_config/config.ts";
import { openCheckpoint } from "../formats/safetensors/checkpoint.ts";
import { size } from "../graph/tensor.ts";
import { type Checkpoint, type LoadedCheckpoint, loadedModel } from "../infer/loading.ts";
import type { ModelSpec } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { type Corpus, openCorpus } from "./corpus.ts";
import { type Split, splitTokens } from "./data.ts";
import { firstNotFinite } from "./finite.ts";
import type { Origin } from "./origin.ts";
import { checkSources, type OnProgress } from "./sources.ts";
import { loadTeacher } from "./teacher.ts";
import { weightBlocks } from "./weights.ts";

/** The text of a run. Dispose it. */
export interface Texts extends Disposable {
  /** Training and held-out tokens of every stage; of the recipe where there are none. */
  readonly splits: readonly Split[];
}

/** The models of a run, as a whole on its device. Dispose them. */
export interface HeldModels extends Disposable {
  readonly teacher?: LoadedCheckpoint;
  /** The student; its weights are yet to be set. */
  readonly student: LoadedCheckpoint;
  /**
   * Another student in place of the present one, which is freed once the weights of the new one are
   * set.
   */
  replaceStudent(
    spec: ModelSpec,
    config: ModelConfig,
    fill: (store: Store) => Promise<void>,
  ): Promise<void>;
}

/** What preparing needs. */
export interface PreparationOptions {
  readonly recipe: Recipe;
  readonly origin: Origin;
  /** The run's folder, which keeps the tokens. */
  readonly folder: string;
  readonly device: Device;
  readonly onProgress: OnProgress;
}

/** The sources of every stage; those of the recipe where there are no stages. */
function sourcesOf({ stages, data }: Recipe): readonly (readonly Source[])[] {
  return stages.length === 0 ? [data] : stages.map((stage) => stage.data ?? data);
}

/** Names sources that are the same. */
export const sourcesKey = (sources: readonly Source[]): string => JSON.stringify(sources);

/** Looks at the data of all stages, before anything is written. Throws FormatError. */
export function checkData(recipe: Recipe, origin: Origin, onProgress: OnProgress): void {
  const { tokenizer, config: { vocabSize }, folderOf } = origin;
  const distinct = new Map(sourcesOf(recipe).map((sources) => [sourcesKey(sources), sources]));
  for (const sources of distinct.values()) {
    checkSources(sources, { tokenizer, vocabSize, folderOf }, onProgress);
  }
}

/** Opens the text of every stage; stages with the same data share it. */
async function openData(
  { recipe, origin, folder, device, onProgress }: PreparationOptions,
  owned: DisposableStack,
): Promise<Corpus[]> {
  const longest = Math.max(...recipe.stages.map(({ context }) => context), 256) + 1;
  const opened = new Map<string, Corpus>();
  const corpora: Corpus[] = [];
  for (const sources of sourcesOf(recipe)) {
    const key = sourcesKey(sources);
    const corpus = opened.get(key) ?? owned.use(
      await openCorpus({
        sources,
        name: opened.size === 0 ? "tokens" : `tokens-${opened.size}`,
        longest,
        tokenizer: origin.tokenizer,
        vocabSize: origin.config.vocabSize,
        folderOf: origin.folderOf,
        folder,
        device,
        onProgress,
      }),
    );
    opened.set(key, corpus);
    corpora.push(corpus);
  }
  return corpora;
}

/**
 * Every stage's context must fit its text; where layers are measured, the held-out part too. There
 * is something to predict in the held-out part of a recipe without stages as well.
 */
function contextProblems(recipe: Recipe, splits: readonly Split[]): Problem[] {
  if (recipe.stages.length === 0 && splits[0].heldOut.length < 2) {
    return [{
      path: "data",
      expected: "text of which at least 2 tokens are held out",
      found: `${splits[0].heldOut.length}`,
      hint: "use more text or a larger heldOut",
    }];
  }
  const measured = measuredAfter(recipe) ?? 0;
  return recipe.stages.flatMap(({ context }, i) => {
    const { train, heldOut } = splits[i];
    const misfits = [
      ...(train.length > context ? [] : [{ what: "training", tokens: train.length }]),
      ...(heldOut.length > (i === measured - 1 ? context : 1)
        ? []
        : [{ what: "held-out", tokens: heldOut.length }]),
    ];
    return misfits.map(({ what, tokens }) => ({
      path: `stages[${i}].context`,
      expected: `at most ${Math.max(0, tokens - 1)}, so that one sequence fits the ${what} tokens`,
      found: `${context}`,
      hint: "use more text or a shorter context",
    }));
  });
}

const damaged = (folder: string, name: string) =>
  new FormatError({
    file: folder,
    at: `tensor ${name}`,
    expected: "finite numbers",
    found: "NaN or infinity",
    advice: "the checkpoint is damaged: download it again",
  });

/**
 * Tokenises the data.
 * @throws FormatError and RecipeError for what is wrong with it.
 */
export async function prepareTexts(options: PreparationOptions): Promise<Texts> {
  const { recipe } = options;
  using owned = new DisposableStack();
  const corpora = await openData(options, owned);
  const known = new Map<Corpus, Split>();
  const splits = corpora.map((corpus) => {
    const split = known.get(corpus) ?? splitTokens(corpus, recipe.heldOut);
    known.set(corpus, split);
    return split;
  });
  const problems = contextProblems(recipe, splits);
  if (problems.length > 0) throw new RecipeError(problems);
  const kept = owned.move();
  return {
    splits,
    [Symbol.dispose]: () => kept.dispose(),
  };
}

/**
 * Looks at the numbers of a teacher that stays on disk: one whose weights are none teaches nothing.
 * @throws FormatError
 */
export function checkStored(
  { folder, spec }: Pick<Checkpoint, "folder" | "spec">,
  onProgress: OnProgress,
): void {
  using tensors = openCheckpoint(folder);
  const parameters = modelParameters(spec);
  for (const [i, { name, shape }] of parameters.entries()) {
    for (const block of weightBlocks(tensors, name, size(shape))) {
      if (!block.every(Number.isFinite)) throw damaged(folder, name);
    }
    onProgress("reading the teacher", i + 1, parameters.length);
  }
}

/**
 * Loads the teacher and makes room for the student.
 * @throws FormatError for what is wrong with the teacher.
 */
export async function holdModels(
  { origin, device }: Pick<PreparationOptions, "origin" | "device">,
): Promise<HeldModels> {
  using owned = new DisposableStack();
  const free = (model: LoadedCheckpoint) => model.free();
  const teacher = origin.teacher &&
    owned.adopt(loadTeacher(device, origin.teacher), free);
  const astray = teacher && await firstNotFinite(teacher.store);
  if (astray !== undefined) throw damaged(origin.teacher!.folder, astray);
  const room = (spec: ModelSpec, config: ModelConfig): LoadedCheckpoint =>
    loadedModel(device, spec, config, createStore(device, layoutOf(modelParameters(spec))));
  let student = room(origin.student, origin.config);
  owned.defer(() => student.free());
  const kept = owned.move();
  return {
    teacher,
    get student() {
      return student;
    },
    replaceStudent: async (spec, config, fill) => {
      const next = room(spec, config);
      try {
        await fill(next.store);
      } catch (error) {
        next.free();
        throw error;
      }
      student.free();
      student = next;
    },
    [Symbol.dispose]: () => kept.dispose(),
  };
}
