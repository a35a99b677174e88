/** A teacher's config.json, where this machine has it: what check and diff know of its layers. */
import type { Checkpoint } from "../dsl/teachers.ts";
import { FormatError } from "../formats/error.ts";
import { type ModelConfig, readConfig } from "../formats/hf_config/config.ts";
import { findConfig, type FoundConfig } from "../hub/find.ts";

/**
 * The config of a teacher in a folder or in the Hugging Face cache; nothing where there is none.
 * @throws FormatError where it is there and wrong.
 */
export async function teacherConfig(teacher: Checkpoint): Promise<ModelConfig | undefined> {
  let found: FoundConfig;
  try {
    found = await findConfig(teacher);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
  if (found.config !== undefined) return found.config;
  try {
    Deno.statSync(`${found.folder}/config.json`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return readConfig(found.folder);
}
