/**
 * What a run reads again when it is resumed: the teacher's files and the recipe's token files. Their
 * digests are part of its state, so that it does not go on with others.
 */

import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import type { Recipe } from "../dsl/recipe.ts";
import { FormatError, type Problem } from "../formats/error.ts";
import { RangeFile } from "../formats/range_file.ts";
import { weightFiles } from "../formats/safetensors/checkpoint.ts";

/** A file and the digest of what was in it. */
export interface Input {
  /** A teacher's by its name, so that its folder may move; a token file's as the recipe has it. */
  readonly name: string;
  readonly digest: string;
}

/** Bytes that are read at once, and how many such pieces of a larger file count. */
const PIECE = 1 << 16;
const PIECES = 256;

/**
 * SHA-256 of a file's size and content; of a file above 16 MiB, of 256 pieces spread evenly over it:
 * weights that were trained on and texts that were tokenised anew differ everywhere, and a teacher
 * of 100 GB is looked at in a moment.
 */
export function inputDigest(path: string): string {
  using file = new RangeFile(path);
  const digest = createHash("sha256").update(`${file.bytes} `);
  const pieces = Math.min(PIECES, Math.ceil(file.bytes / PIECE));
  for (let i = 0; i < pieces; i++) {
    const start = Math.floor(i / pieces * file.bytes);
    const end = Math.floor((i + 1) / pieces * file.bytes);
    const piece = new Uint8Array(Math.min(PIECE, end - start));
    file.read(start, piece);
    digest.update(piece);
  }
  return digest.digest("hex");
}

/**
 * The inputs of a recipe. Text is not among them: its tokens are kept in the run's folder.
 * @param teacher the folder of the teacher; undefined for a new model
 */
export function inputsOf({ data, stages }: Recipe, teacher: string | undefined): Input[] {
  const weights = teacher === undefined
    ? []
    : [join(teacher, "config.json"), ...weightFiles(teacher)];
  const prefixes = [data, ...stages.map((stage) => stage.data ?? [])].flat()
    .flatMap((source) => source.kind === "binidx" ? [source.prefix] : []);
  const tokens = [...new Set(prefixes)].flatMap((prefix) => [`${prefix}.idx`, `${prefix}.bin`]);
  return [
    ...weights.map((path) => ({ name: basename(path), digest: inputDigest(path) })),
    ...tokens.map((path) => ({ name: path, digest: inputDigest(path) })),
  ];
}

/**
 * Compares what a run began with and what is there now.
 * @throws FormatError that names every file that is another one.
 */
export function checkInputs(before: readonly Input[], now: readonly Input[], folder: string): void {
  const found = new Map(now.map(({ name, digest }) => [name, digest]));
  const problems = before.filter(({ name, digest }) => found.get(name) !== digest)
    .map(({ name }): Problem => ({
      file: folder,
      at: name,
      expected: "the file that the run began with",
      found: found.has(name) ? "one with other content" : "none",
      advice: "put it back, or begin anew with --restart",
    }));
  if (problems.length > 0) throw new FormatError(problems);
}
