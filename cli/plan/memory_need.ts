/** What a recipe's runs take of a device, which has to be opened for it. */

import { reach } from "../../devices/cpu/memory.ts";
import { RecipeError } from "../../dsl/problem.ts";
import type { Recipe } from "../../dsl/recipe.ts";
import { FormatError } from "../../formats/error.ts";
import { isLayered } from "../../train/by_layer/models.ts";
import { memoryNeed } from "../../train/memory_need.ts";
import { isBf16, modelsOf } from "./models.ts";

/**
 * Bytes that the stages of a recipe take of a device. What is wrong with a recipe is for its run to
 * tell: then it is 0.
 */
export async function memoryOf(recipe: Recipe): Promise<number> {
  try {
    const { student, from } = await modelsOf(recipe);
    const held = { teacherIsBf16: isBf16(from?.config), staysOnDisk: isLayered(recipe) };
    return memoryNeed(recipe.stages, student, from?.spec, held, reach("i32"));
  } catch (error) {
    if (error instanceof RecipeError || error instanceof FormatError) return 0;
    throw error;
  }
}
