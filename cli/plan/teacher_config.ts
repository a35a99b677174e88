/** A teacher's config.json, without its weights: what check, diff and plan know of its layers. */
import type { Checkpoint } from "../../dsl/teachers.ts";
import { FormatError } from "../../formats/error.ts";
import { isFile } from "../../formats/files.ts";
import { type ModelConfig, parseConfig } from "../../formats/hf_config/config.ts";
import { readConfig } from "../../formats/hf_config/read.ts";
import { findConfig, type FoundConfig } from "../../hub/find.ts";
import { knownConfig } from "../../plan/known_configs.ts";

/** The config of a teacher that is known by its name, whatever this machine has of it. */
export function knownTeacher({ location, revision }: Checkpoint): ModelConfig | undefined {
  const known = revision === undefined ? knownConfig(location) : undefined;
  return known && parseConfig(known, location);
}

/**
 * The config of a teacher in a folder or in the Hugging Face cache, or known by its name; nothing
 * where there is none.
 * @throws FormatError where it is there and wrong.
 */
export async function teacherConfig(teacher: Checkpoint): Promise<ModelConfig | undefined> {
  let found: FoundConfig;
  try {
    found = await findConfig(teacher);
  } catch (error) {
    if (error instanceof FormatError) return knownTeacher(teacher);
    throw error;
  }
  if (found.config !== undefined) return found.config;
  return isFile(`${found.folder}/config.json`) ? readConfig(found.folder) : undefined;
}
