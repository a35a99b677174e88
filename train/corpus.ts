/** From a recipe's sources to one stream of tokens, kept in the run's folder. */

import { join } from "node:path";
import type { Device } from "../devices/device.ts";
import type { Samples, Source } from "../dsl/sources.ts";
import { openBinidx, type TokenType } from "../formats/binidx.ts";
import { writeBinidx } from "../formats/binidx_write.ts";
import { FormatError } from "../formats/error.ts";
import { readJsonl } from "../formats/text/jsonl.ts";
import { readTexts } from "../formats/text/text.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../infer/load.ts";
import { joinStreams, type TokenStream } from "./data.ts";
import { writeSamples } from "./samples.ts";

/** What reading the sources needs. */
export interface CorpusOptions {
  readonly sources: readonly Source[];
  readonly tokenizer: Tokenizer;
  readonly vocabSize: number;
  /** Where tokens are kept, so that a resumed run finds the same ones. */
  readonly folder: string;
  /** Distinguishes the sources of one stage from those of another. */
  readonly name: string;
  readonly device: Device;
  /** Tokens of the longest text that `samples` writes. */
  readonly longest: number;
  readonly onProgress: (what: string, done: number, total: number) => void;
}

/** A stream and the files behind it. */
export interface Corpus extends TokenStream {
  close(): void;
}

/** The documents of a text or jsonl source. */
export function* sourceTexts(source: Source): Generator<string> {
  if (source.kind !== "text" && source.kind !== "jsonl") return;
  for (const glob of source.globs) {
    const documents = source.kind === "text" ? readTexts(glob) : readJsonl(glob, source.field);
    for (const { text } of documents) yield text;
  }
}

/** Ids of every document; each ends with the end-of-text token where the tokenizer has one. */
function* encoded(source: Source, tokenizer: Tokenizer, onDocument: () => void) {
  for (const text of sourceTexts(source)) {
    const ids = tokenizer.encode(text);
    yield ended(ids, tokenizer.eosId);
    onDocument();
  }
}

function ended(ids: Int32Array, eosId: number | undefined): Int32Array {
  if (eosId === undefined || ids[ids.length - 1] === eosId) return ids;
  const longer = new Int32Array(ids.length + 1);
  longer.set(ids);
  longer[ids.length] = eosId;
  return longer;
}

async function sampled(source: Samples, options: CorpusOptions): Promise<Int32Array[]> {
  const { device, tokenizer, vocabSize, longest, onProgress } = options;
  const checkpoint = inspectCheckpoint(source.teacher.location);
  const own = checkpointTokenizer(source.teacher.location, checkpoint.config);
  if (own.vocabularySize !== tokenizer.vocabularySize || checkpoint.config.vocabSize > vocabSize) {
    throw new FormatError({
      file: source.teacher.location,
      expected: `a teacher with the recipe's vocabulary of ${tokenizer.vocabularySize}`,
      found: `${own.vocabularySize}`,
      advice: "samples must come from a model with the same tokenizer",
    });
  }
  const model = loadCheckpoint(device, checkpoint);
  try {
    const documents: Int32Array[] = [];
    const report = (n: number, of: number) => onProgress("writing samples", n, of);
    for await (const text of writeSamples(model, own, source, longest, report)) {
      documents.push(text);
    }
    return documents;
  } finally {
    model.free();
  }
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/**
 * Tokenises what is not yet tokenised and opens the whole as one stream.
 * @throws FormatError for what is wrong with the sources, and where they hold no token.
 */
export async function openCorpus(options: CorpusOptions): Promise<Corpus> {
  const { sources, tokenizer, vocabSize, folder, name, onProgress } = options;
  const type: TokenType = vocabSize <= 65536 ? "U16" : "I32";
  const prefixes: string[] = [];
  for (const [i, source] of sources.entries()) {
    if (source.kind === "binidx") {
      prefixes.push(source.prefix);
      continue;
    }
    const prefix = join(folder, `${name}-${i}`);
    prefixes.push(prefix);
    // The index is renamed into place last: with it both files are whole.
    if (exists(`${prefix}.idx`)) continue;
    let documents = 0;
    const counted = () => onProgress("tokenising", ++documents, 0);
    writeBinidx(
      prefix,
      source.kind === "samples"
        ? await sampled(source, options)
        : encoded(source, tokenizer, counted),
      type,
    );
  }
  const files = prefixes.map(openBinidx);
  const stream = joinStreams(files);
  if (stream.length === 0) {
    files.forEach((file) => file.close());
    throw new FormatError({
      file: prefixes.join(", "),
      expected: "a corpus with at least one token",
      found: "none",
      advice: "check the recipe's data: its files are empty",
    });
  }
  return {
    length: stream.length,
    read: (start, count) => checked(stream.read(start, count), vocabSize, prefixes),
    close: () => files.forEach((file) => file.close()),
  };
}

/** Ids from a stranger's file may be beyond the vocabulary. */
function checked(ids: Int32Array, vocabSize: number, prefixes: readonly string[]): Int32Array {
  const bad = ids.findIndex((id) => id >= vocabSize);
  if (bad < 0) return ids;
  throw new FormatError({
    file: prefixes.join(", "),
    expected: `ids below the vocabulary's ${vocabSize}`,
    found: `${ids[bad]}`,
    advice: "the tokens were made with another tokenizer",
  });
}
