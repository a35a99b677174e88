/** Recipe modules that tests write. */
import { assert, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname } from "node:path";
import { loadRecipe, RecipeModuleError } from "../../../cli/recipe/module.ts";
import { RecipeError } from "../../../mod.ts";

export const ROOT = new URL("../../../", import.meta.url);
export const MOD = new URL("mod.ts", ROOT).href;

/** A valid recipe as source, with other code before it. */
export const valid = (before = "", value = "base", mod = MOD) => `
  import { align, extend, layers, pipe, radRwkv7, recipe, teacher, text, withContext } from "${mod}";
  const base = recipe({
    teacher: teacher("assets/teacher"),
    surgery: [layers.where((index, count) => index < count - 1).to(radRwkv7())],
    stages: [align()],
    data: text("corpus/*.txt"),
    output: "out/example",
  });
  ${before}
  export default ${value};
`;

/** Runs with files in a folder of their own, outside of the project. */
export async function withFiles(
  files: Readonly<Record<string, string>>,
  run: (path: (name: string) => string) => Promise<unknown>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "suture-recipe-" });
  try {
    for (const [name, source] of Object.entries(files)) {
      await Deno.mkdir(dirname(`${folder}/${name}`), { recursive: true });
      await Deno.writeTextFile(`${folder}/${name}`, source);
    }
    await run((name) => `${folder}/${name}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What loading a module outside of the project says. */
export async function refusal(source: string, name = "recipe.ts"): Promise<string> {
  let message = "";
  await withFiles({ [name]: source }, async (path) => {
    const error = await assertRejects(() => loadRecipe(path(name)), Error);
    assertStringIncludes(error.message, path(name));
    assert(error instanceof RecipeError || error instanceof RecipeModuleError, String(error));
    message = error.message.replaceAll(path(""), "");
  });
  return message;
}
