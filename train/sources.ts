/** What a recipe's sources hold, looked at before anything is written. */

import type { Samples, Source } from "../dsl/sources.ts";
import type { Checkpoint as Teacher } from "../dsl/teachers.ts";
import { TOKEN_TYPES } from "../formats/binidx/header.ts";
import { openBinidx } from "../formats/binidx/token_file.ts";
import { FormatError, type Problem } from "../formats/error.ts";
import { readJsonl } from "../formats/text/jsonl.ts";
import { sourceFiles } from "../formats/text/paths.ts";
import { readTexts } from "../formats/text/text.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { type Checkpoint, checkpointTokenizer, inspectCheckpoint } from "../infer/loading.ts";

/** The folder of a recipe's checkpoint, which may be named as on the hub. */
export type FolderOf = (teacher: Teacher) => string;

/** Where all locations are paths. */
export const pathOf: FolderOf = ({ location }) => location;

/** What the tokens must fit. */
export interface Vocabulary {
  readonly tokenizer: Tokenizer;
  /** Rows of the embedding. */
  readonly vocabSize: number;
  /** Where checkpoints are that write samples. */
  readonly folderOf: FolderOf;
}

/** Tokens that are looked at in one go. */
const BLOCK_TOKENS = 1 << 16;
/** Blocks that are looked at; larger files are looked at in so many places. */
const CHECKED_BLOCKS = 256;

/** Tells how much is done of something long; `total` 0 where it is not known. */
export type OnProgress = (what: string, done: number, total: number) => void;

/** The documents of a text or jsonl source. */
export function* sourceTexts(source: Source): Generator<string> {
  if (source.kind !== "text" && source.kind !== "jsonl") return;
  for (const glob of source.globs) {
    const documents = source.kind === "text" ? readTexts(glob) : readJsonl(glob, source.field);
    for (const { text } of documents) yield text;
  }
}

/** A checkpoint that writes samples, and its tokenizer. @throws FormatError where they do not fit. */
export function samplesTeacher(
  { teacher }: Samples,
  { tokenizer, vocabSize, folderOf }: Vocabulary,
): { checkpoint: Checkpoint; tokenizer: Tokenizer } {
  const folder = folderOf(teacher);
  const checkpoint = inspectCheckpoint(folder);
  const own = checkpointTokenizer(folder, checkpoint.config);
  const same = own.vocabularySize === tokenizer.vocabularySize;
  if (same && checkpoint.config.vocabSize <= vocabSize) return { checkpoint, tokenizer: own };
  throw new FormatError({
    file: teacher.location,
    expected: `a teacher with the recipe's vocabulary of ${tokenizer.vocabularySize}`,
    found: same ? `embeddings for ${checkpoint.config.vocabSize}` : `${own.vocabularySize}`,
    advice: "samples must come from a model with the same tokenizer",
  });
}

function bytesOf(path: string): number {
  return Deno.statSync(path).size;
}

/** An id beyond the vocabulary, as a problem of the files that hold it. */
export function beyondVocabulary(file: string, id: number, vocabSize: number): FormatError {
  return new FormatError({
    file,
    expected: `ids below the vocabulary's ${vocabSize}`,
    found: `${id}`,
    advice: "the tokens were made with another tokenizer",
  });
}

/**
 * Checks a token file's index, and its tokens unless their type holds no id beyond the vocabulary:
 * all of a small file, evenly spread blocks of a large one. What training reads later is checked
 * when it is read.
 */
function checkTokens(prefix: string, vocabSize: number, onProgress: OnProgress): number {
  using file = openBinidx(prefix);
  file.check();
  const bits = 8 * TOKEN_TYPES[file.type].array.BYTES_PER_ELEMENT;
  if (file.type.startsWith("U") && 2 ** bits <= vocabSize) return file.length;
  const blocks = Math.ceil(file.length / BLOCK_TOKENS);
  const checked = Math.min(blocks, CHECKED_BLOCKS);
  for (let i = 0; i < checked; i++) {
    const at = Math.floor(i * blocks / checked) * BLOCK_TOKENS;
    const ids = file.read(at, Math.min(BLOCK_TOKENS, file.length - at));
    const bad = ids.find((id) => id >= vocabSize);
    if (bad !== undefined) throw beyondVocabulary(prefix, bad, vocabSize);
    onProgress("checking tokens", i + 1, checked);
  }
  return file.length;
}

/** A measure of what a source holds: 0 for nothing. */
function amountOf(source: Source, vocabulary: Vocabulary, onProgress: OnProgress): number {
  switch (source.kind) {
    case "text":
    case "jsonl":
      return source.globs.flatMap(sourceFiles).reduce((sum, path) => sum + bytesOf(path), 0);
    case "binidx":
      return checkTokens(source.prefix, vocabulary.vocabSize, onProgress);
    case "samples":
      samplesTeacher(source, vocabulary);
      return source.tokens;
    default:
      return source satisfies never;
  }
}

/** What of a source's files is not there or cannot be opened; texts are not read. */
export function fileProblems(source: Source): readonly Problem[] {
  switch (source.kind) {
    case "text":
    case "jsonl":
      return source.globs.flatMap((glob) => problemsOf(() => sourceFiles(glob)));
    case "binidx":
      return problemsOf(() => openBinidx(source.prefix)[Symbol.dispose]());
    case "samples":
      return [];
    default:
      return source satisfies never;
  }
}

/** The problems of files that something throws. */
export function problemsOf(look: () => unknown): readonly Problem[] {
  try {
    look();
    return [];
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return error.problems;
  }
}

/** What a list of sources is called in messages. */
function namesOf(sources: readonly Source[]): string {
  return sources.flatMap((source) => {
    if (source.kind === "samples") return [source.teacher.location];
    return source.kind === "binidx" ? [source.prefix] : source.globs;
  }).join(", ");
}

/** A corpus without any token. */
export function emptyCorpus(sources: readonly Source[]): FormatError {
  return new FormatError({
    file: namesOf(sources),
    expected: "a corpus with at least one token",
    found: "none",
    advice: "check the recipe's data: its files are empty",
  });
}

/**
 * Looks at all that can be known of sources without tokenising them.
 * @throws FormatError with all that is wrong: missing files, token files with ids beyond the
 * vocabulary, a writer of samples with another tokenizer, nothing in any of them.
 */
export function checkSources(
  sources: readonly Source[],
  vocabulary: Vocabulary,
  onProgress: OnProgress,
): void {
  const problems: Problem[] = [];
  let amount = 0;
  for (const source of sources) {
    problems.push(...problemsOf(() => amount += amountOf(source, vocabulary, onProgress)));
  }
  if (problems.length > 0) throw new FormatError(problems);
  if (amount === 0) throw emptyCorpus(sources);
}
