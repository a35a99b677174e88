/** From a recipe's sources to one stream of tokens, kept in the run's folder. */

import { join } from "node:path";
import type { Device } from "../devices/device.ts";
import type { Samples, Source } from "../dsl/sources.ts";
import { tokenTypeFor } from "../formats/binidx/header.ts";
import { openBinidx, type TokenFile } from "../formats/binidx/token_file.ts";
import { writeBinidx } from "../formats/binidx/write.ts";
import { isFile } from "../formats/files.ts";
import { appended, type Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { loadCheckpoint } from "../infer/loading.ts";
import { joinStreams, type TokenStream } from "./data.ts";
import { writeSamples } from "./samples.ts";
import {
  beyondVocabulary,
  emptyCorpus,
  type OnProgress,
  samplesTeacher,
  sourceTexts,
  type Vocabulary,
} from "./sources.ts";

/** What reading the sources needs. */
export interface CorpusOptions extends Vocabulary {
  readonly sources: readonly Source[];
  /** Where tokens are kept, so that a resumed run finds the same ones. */
  readonly folder: string;
  /** Distinguishes the sources of one stage from those of another. */
  readonly name: string;
  readonly device: Device;
  /** Tokens of the longest text that `samples` writes. */
  readonly longest: number;
  readonly onProgress: OnProgress;
}

/** A stream and the files behind it. Dispose it. */
export interface Corpus extends TokenStream, Disposable {}

/** Ids of every document; each ends with the end-of-text token where the tokenizer has one. */
function* encoded(source: Source, tokenizer: Tokenizer, onProgress: OnProgress) {
  let documents = 0;
  for (const text of sourceTexts(source)) {
    const ids = tokenizer.encode(text);
    yield ended(ids, tokenizer.eosId);
    onProgress("tokenising documents", ++documents, 0);
  }
}

function ended(ids: Int32Array, eosId: number | undefined): Int32Array {
  if (eosId === undefined || ids[ids.length - 1] === eosId) return ids;
  return appended(ids, eosId);
}

async function sampled(source: Samples, options: CorpusOptions): Promise<Int32Array[]> {
  const { device, longest, onProgress } = options;
  const { checkpoint, tokenizer } = samplesTeacher(source, options);
  const model = loadCheckpoint(device, checkpoint);
  try {
    const documents: Int32Array[] = [];
    const report = (n: number, of: number) => onProgress("writing samples", n, of);
    for await (const text of writeSamples(model, tokenizer, source, longest, report)) {
      documents.push(text);
    }
    return documents;
  } finally {
    model.free();
  }
}

/** The prefix of a source's token file, which is made where it is not there yet. */
async function tokenised(source: Source, index: number, options: CorpusOptions): Promise<string> {
  if (source.kind === "binidx") return source.prefix;
  const { tokenizer, vocabSize, folder, name, onProgress } = options;
  const prefix = join(folder, `${name}-${index}`);
  // The index is renamed into place last: with it both files are whole.
  if (isFile(`${prefix}.idx`)) return prefix;
  const documents = source.kind === "samples"
    ? await sampled(source, options)
    : encoded(source, tokenizer, onProgress);
  writeBinidx(prefix, documents, tokenTypeFor(vocabSize));
  return prefix;
}

/**
 * Tokenises what is not yet tokenised and opens the whole as one stream.
 * @throws FormatError for what is wrong with the sources, and where they hold no token.
 */
export async function openCorpus(options: CorpusOptions): Promise<Corpus> {
  const { sources, vocabSize } = options;
  using opened = new DisposableStack();
  const files: TokenFile[] = [];
  for (const [index, source] of sources.entries()) {
    files.push(opened.use(openBinidx(await tokenised(source, index, options))));
  }
  const stream = joinStreams(files);
  if (stream.length === 0) throw emptyCorpus(sources);
  const kept = opened.move();
  return {
    length: stream.length,
    read: (start, count) => {
      const ids = stream.read(start, count);
      // A stranger's file may have changed since it was looked at.
      const bad = ids.find((id) => id >= vocabSize);
      if (bad === undefined) return ids;
      throw beyondVocabulary(files.map(({ prefix }) => prefix).join(", "), bad, vocabSize);
    },
    [Symbol.dispose]: () => kept.dispose(),
  };
}
