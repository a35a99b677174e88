/** What a recipe's runs take of a device, which has to be opened for it. */

import { reach } from "../../devices/cpu/memory.ts";
import type { Device } from "../../devices/device.ts";
import { NEEDS_LESS } from "../../devices/out_of_memory.ts";
import { RecipeError } from "../../dsl/problem.ts";
import type { Recipe } from "../../dsl/recipe.ts";
import { FormatError } from "../../formats/error.ts";
import { isLayered } from "../../train/by_layer/models.ts";
import { memoryNeed } from "../../train/memory_need.ts";
import { bytesText } from "../terminal/table.ts";
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

/** What is said before a run that takes more memory than there is; undefined where it fits. */
export const memoryWarning = (needed: number, total: number): string | undefined =>
  needed <= total
    ? undefined
    : `this machine has ${bytesText(total)} of memory, and the run may take ${
      bytesText(needed)
    }: ` +
      `it may be ended by the system, or wait for its disk; ${NEEDS_LESS}, and plan shows how much`;

/** Warns of a run on the CPU that takes more memory than the machine has, if it may ask for that. */
export function warnOfMemory(device: Device, needed: number, say: (line: string) => void): void {
  const asked = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  if (device.kind !== "cpu" || asked.state !== "granted") return;
  const warning = memoryWarning(needed, Deno.systemMemoryInfo().total);
  if (warning !== undefined) say(warning);
}
