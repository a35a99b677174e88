/** A recipe: what is done to which teacher, with what data, as one frozen plain value. */
import { type Problem, RecipeError } from "./problem.ts";
import {
  type At,
  checked,
  defaulted,
  inside,
  list,
  number,
  object,
  path,
  type Reader,
  refuse,
  refuseAs,
  required,
  sound,
} from "./schema.ts";
import type { Rule } from "./selectors.ts";
import { type Data, readData, readSeed, type Source } from "./sources.ts";
import { readStage, type Stage } from "./stages.ts";
import { converts, measuresLayers, readSurgery } from "./surgery.ts";
import { type NewModel, readTeacher, type Teacher } from "./teachers.ts";

/** A valid recipe with every default written out. */
export interface Recipe {
  /** What is converted; a new model where there is nothing to convert. */
  readonly teacher: Teacher;
  /** Later rules win; empty for a new model. */
  readonly surgery: readonly Rule[];
  /** Run in this order, each on the result of the one before. */
  readonly stages: readonly Stage[];
  /** Read one after the other, as one stream of tokens. */
  readonly data: readonly Source[];
  /** The directory that the result is written to, relative to the current one. */
  readonly output: string;
  /** Seed of initial values and sampling, an unsigned 32-bit number. */
  readonly seed: number;
  /** The fraction of the tokens that is kept for evaluation and never trained on. */
  readonly heldOut: number;
}

/** What every recipe says. */
export interface CommonOptions {
  /** One source, or several, read one after the other. */
  readonly data: Data;
  /** The directory that the result is written to. */
  readonly output: string;
  /** Seed of initial values and sampling. Default 0. */
  readonly seed?: number;
  /** The fraction of the tokens kept for evaluation. Default 0.02. */
  readonly heldOut?: number;
}

/** What is done to an existing teacher. */
export interface ConversionOptions {
  /** Rules such as `layers.all.to(radRwkv7())`; later ones win. */
  readonly surgery: readonly Rule[];
  readonly stages: readonly Stage<"align" | "distill" | "finetune">[];
}

/** What is done to a new model. */
export interface PretrainingOptions {
  readonly surgery?: readonly [];
  readonly stages: readonly Stage<"pretrain">[];
}

/** What an author writes: the teacher decides which stages there can be. */
export type RecipeOptions<T extends Teacher = Teacher> =
  & CommonOptions
  & { readonly teacher: T }
  & (T extends NewModel ? PretrainingOptions : ConversionOptions);

/** A recipe from its parts. Throws one RecipeError that holds every problem. */
export function recipe<T extends Teacher>(options: RecipeOptions<T>): Recipe {
  return build(options);
}

/** Reads a recipe from any value, of which only plain data survives. Throws RecipeError. */
export function build(value: unknown, where?: string): Recipe {
  const problems: Problem[] = [];
  const result = readRecipe(value, { path: "", problems });
  if (problems.length > 0) throw new RecipeError(problems, where);
  return result;
}

/** Everything that is wrong with a value as a recipe; empty where nothing is. */
export function validate(value: unknown): readonly Problem[] {
  const problems: Problem[] = [];
  readRecipe(value, { path: "", problems });
  return problems;
}

const readParts = object<Recipe>("a recipe", {
  teacher: required(readTeacher),
  surgery: defaulted(readSurgery, Object.freeze([])),
  stages: required(list(readStage, "a list of stages such as [align(), distill()]")),
  data: required(readData),
  output: required(path("the path of a directory")),
  seed: defaulted(readSeed, 0),
  heldOut: defaulted(number("a fraction above 0 and at most 0.5", (f) => f > 0 && f <= 0.5), 0.02),
});

const readRecipe: Reader<Recipe> = checked(readParts, (recipe, at) => {
  // What could not be read at all is absent; what was read with problems still has its kind.
  const { teacher, surgery } = recipe;
  const stages = [...recipe.stages?.entries() ?? []].filter(([, stage]) => stage !== undefined);
  if (teacher === undefined) return;
  for (const [index, stage] of stages) {
    checkStage(teacher, stage, inside(inside(at, "stages"), index));
  }
  if (sound(at, "surgery")) {
    checkSurgery(teacher, surgery, stages.map(([, stage]) => stage), inside(at, "surgery"));
    checkMeasured(recipe, stages.map(([, stage]) => stage), inside(at, "surgery"));
  }
  if (sound(at, "teacher", "data")) checkTokenizer(recipe, at);
});

/** A new model is pretrained; an existing teacher is not. */
function checkStage(teacher: Teacher, { kind, trains }: Stage, at: At): void {
  if (teacher.kind === "new" && kind !== "pretrain") {
    refuseAs(at, "pretrain, because a new model has no teacher to learn from", kind);
  }
  if (teacher.kind === "checkpoint" && kind === "pretrain") {
    const expected = "align, distill or finetune, because the teacher is trained already";
    refuseAs(at, expected, kind, "pretrain wants teacher: newModel(…)");
  }
  if (teacher.kind === "new" && trains === "mixers") {
    const expected = '"everything" or match(…), because a new model has no converted layers';
    refuseAs(inside(at, "trains"), expected, '"mixers"');
  }
}

/** A new model has nothing to convert; stages that train converted layers need some. */
function checkSurgery(
  teacher: Teacher,
  surgery: readonly Rule[],
  stages: readonly Stage[],
  at: At,
): void {
  if (teacher.kind === "new") {
    if (surgery.length === 0) return;
    refuse(at, "no rules, because a new model has nothing to convert", surgery);
  } else if (!converts(surgery)) {
    const needs = stages.find(({ kind, trains }) => kind !== "finetune" || trains === "mixers");
    if (needs === undefined) return;
    const expected = "a rule that converts layers, such as layers.all.to(radRwkv7())";
    refuseAs(at, expected, "none", `${needs.kind} trains converted layers`);
  }
}

/**
 * The stages after which the layers of `worst(n)` are found: the align stages that come first.
 * Undefined for a recipe without such a rule.
 */
export function measuredAfter(
  { surgery, stages }: Pick<Recipe, "surgery" | "stages">,
): number | undefined {
  if (!surgery.some(({ mixer }) => measuresLayers(mixer))) return undefined;
  const other = stages.findIndex(({ kind }) => kind !== "align");
  return other === -1 ? stages.length : other;
}

/** Layers are found by measurement once, at the end of an alignment that nothing comes before. */
function checkMeasured({ surgery }: Recipe, stages: readonly Stage[], at: At): void {
  const rules = surgery.flatMap(({ mixer }, rule) => measuresLayers(mixer) ? [rule] : []);
  const place = (rule: number) => inside(inside(inside(at, rule), "mixer"), "where");
  rules.slice(1).forEach((rule) =>
    refuseAs(place(rule), "one rule with worst(n)", `another in surgery[${rules[0]}]`)
  );
  const [first] = stages;
  if (rules.length === 0 || first?.kind === "align") return;
  const expected = "align as the first stage, at whose end the layers' errors are measured";
  refuseAs(place(rules[0]), expected, first?.kind ?? "no stages");
}

/** A tokenizer that is yet to be made needs text to make it from. */
function checkTokenizer({ teacher, data }: Recipe, at: At): void {
  if (teacher.kind !== "new" || teacher.tokenizer.kind !== "byteLevelBpe") return;
  if (data.some(({ kind }) => kind === "text" || kind === "jsonl")) return;
  const expected = "text(…) or jsonl(…), which byteLevelBpe makes the tokenizer from";
  refuseAs(inside(at, "data"), expected, data.map(({ kind }) => kind).join(", "));
}
