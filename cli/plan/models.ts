/** The models that a recipe is about, as a plan knows them: no weights are needed. */

import { join } from "node:path";
import type { Recipe } from "../../dsl/recipe.ts";
import type { Checkpoint } from "../../dsl/teachers.ts";
import { FormatError } from "../../formats/error.ts";
import { isFile } from "../../formats/files.ts";
import { CONFIG_LIMIT, type ModelConfig, parseConfig } from "../../formats/hf_config/config.ts";
import { readJsonObject } from "../../formats/json_file.ts";
import { hubSettings } from "../../hub/settings.ts";
import { checkWidths } from "../../infer/checks.ts";
import type { ModelSpec } from "../../models/config.ts";
import { conversionOf } from "../../plan/conversion.ts";
import { checkpointSpec } from "../../plan/spec.ts";
import { existingTokenizer } from "../../train/tokenizer_files.ts";
import { inspectTeacher } from "../checkpoints.ts";
import { UsageError } from "../command/flags.ts";
import { knownTeacher } from "./teacher_config.ts";

/** A teacher whose weights need not be there. */
interface TeacherConfig {
  readonly config: ModelConfig;
  readonly spec: ModelSpec;
}

/** Whether a checkpoint says of itself that it is bf16. */
export const isBf16 = (config?: ModelConfig): boolean => config?.torchDtype === "bfloat16";

function configOnly(config: ModelConfig, file: string): TeacherConfig {
  checkWidths(file, config);
  return { config, spec: checkpointSpec(config, new Map()) };
}

/**
 * The teacher: of `--config`; of its folder, where config.json may be alone; of the cache; known by
 * its name; or, last, the config on the hub.
 */
async function teacherOf(teacher: Checkpoint, file: string | undefined): Promise<TeacherConfig> {
  const { location } = teacher;
  const own = join(location, "config.json");
  const weights = ["model.safetensors", "model.safetensors.index.json"];
  const alone = isFile(own) && !weights.some((name) => isFile(join(location, name)));
  const read = file ?? (alone ? own : undefined);
  if (read !== undefined) {
    return configOnly(parseConfig(readJsonObject(read, CONFIG_LIMIT), read), read);
  }
  const known = knownTeacher(teacher);
  if (known === undefined) return await inspectTeacher(teacher);
  try {
    return await inspectTeacher(teacher, () => ({ ...hubSettings(), offline: true }));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return configOnly(known, location);
  }
}

/**
 * The teacher and the student of a recipe, by config.json alone where there is no more.
 * @param file a config.json in place of the teacher's
 */
export async function modelsOf(recipe: Recipe, file?: string) {
  if (recipe.teacher.kind === "new") {
    if (file !== undefined) {
      throw new UsageError("--config: expected a recipe with a teacher, found a new model");
    }
    const { config, tokenizer } = recipe.teacher;
    const vocab_size = tokenizer.kind === "byteLevelBpe"
      ? tokenizer.pieces
      : existingTokenizer(tokenizer).tokenizer.vocabularySize;
    const whole = parseConfig({ vocab_size, ...config }, "teacher.config");
    return { student: checkpointSpec(whole, new Map()), from: undefined };
  }
  const teacher = await teacherOf(recipe.teacher, file);
  const conversion = conversionOf(recipe, teacher);
  return { student: conversion.student, from: { ...teacher, conversion } };
}
