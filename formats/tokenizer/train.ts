/** Making a byte-level BPE tokenizer, of Qwen2's kind, from texts. */
import type { JsonObject } from "../json.ts";
import { BYTE_CHARACTERS } from "./byte_level.ts";
import { type CountedWords, mergePairs } from "./pair_merges.ts";
import { stagesOf } from "./stages.ts";

/** The contents of the two files that make a tokenizer. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: JsonObject;
  /** tokenizer_config.json */
  readonly config: JsonObject;
}

/** What a vocabulary has besides pieces of text. */
export interface TrainingOptions {
  /** The first ends a text and fills batches. Default `<|endoftext|>`. They get the lowest ids. */
  readonly specialTokens?: readonly string[];
}

/** How Qwen2 cuts a text: contractions, words with one sign before, single digits, signs, space. */
const PATTERN = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" +
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const BYTE_LEVEL = {
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: false,
  use_regex: false,
};

/** Python's decoder has no options; it writes these all the same. */
const DECODER = { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true };

const PRE_TOKENIZER = {
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: PATTERN }, behavior: "Isolated", invert: false },
    BYTE_LEVEL,
  ],
};

/**
 * Learns a vocabulary: special tokens, the 256 bytes, then merges by frequency. Deterministic, and
 * equal to what the trainer of Hugging Face's Python library makes of the same texts. Texts that
 * are too short for so many merges give a smaller vocabulary.
 * @param vocabularySize ids in all, special tokens included
 * @throws RangeError for a size that does not hold special tokens and bytes.
 */
export function trainByteLevelBpe(
  texts: Iterable<string>,
  vocabularySize: number,
  options: TrainingOptions = {},
): TokenizerFiles {
  const specialTokens = options.specialTokens ?? ["<|endoftext|>"];
  const pieces = [...new Set([...specialTokens, ...[...BYTE_CHARACTERS].sort()])];
  if (vocabularySize < pieces.length) {
    throw new RangeError(
      `a vocabulary of ${vocabularySize} does not hold ${specialTokens.length} special tokens ` +
        `and 256 bytes: at least ${pieces.length} are needed`,
    );
  }
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const symbolOf = (left: number, right: number): number => {
    const piece = pieces[left] + pieces[right];
    const known = ids.get(piece);
    if (known !== undefined) return known;
    ids.set(piece, pieces.length);
    return pieces.push(piece) - 1;
  };
  const byteIds = BYTE_CHARACTERS.map((character) => ids.get(character) as number);
  const merges = mergePairs(
    countWords(texts, byteIds),
    symbolOf,
    () => pieces.length >= vocabularySize,
  );
  // A pair may be merged twice, as the library does it; its last place counts there.
  const ranks = new Map<string, [string, string]>();
  for (const { left, right } of merges) {
    const key = `${left} ${right}`;
    ranks.delete(key);
    ranks.set(key, [pieces[left], pieces[right]]);
  }
  return {
    tokenizer: tokenizerJson(specialTokens, ids, [...ranks.values()]),
    config: tokenizerConfig(specialTokens),
  };
}

/** The distinct pieces of the texts, as ids of their bytes. */
function countWords(texts: Iterable<string>, byteIds: readonly number[]): CountedWords {
  const [split] = stagesOf(PRE_TOKENIZER).split;
  const occurrences = new Map<string, number>();
  for (const text of texts) {
    for (const piece of split(text.normalize("NFC"), true)) {
      occurrences.set(piece, (occurrences.get(piece) ?? 0) + 1);
    }
  }
  const utf8 = new TextEncoder();
  const words = [...occurrences.keys()].map((piece) =>
    Int32Array.from(utf8.encode(piece), (byte) => byteIds[byte])
  );
  return { words, counts: [...occurrences.values()] };
}

function tokenizerJson(
  specialTokens: readonly string[],
  ids: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
): JsonObject {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({ id, content, ...SPECIAL })),
    normalizer: { type: "NFC" },
    pre_tokenizer: PRE_TOKENIZER,
    post_processor: BYTE_LEVEL,
    decoder: DECODER,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(ids),
      merges,
    },
  };
}

const SPECIAL = {
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
};

function tokenizerConfig(specialTokens: readonly string[]): JsonObject {
  const [eos = null] = specialTokens;
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    added_tokens_decoder: Object.fromEntries(
      specialTokens.map((content, id) => [String(id), { content, ...SPECIAL }]),
    ),
    bos_token: null,
    eos_token: eos,
    pad_token: eos,
    unk_token: null,
    clean_up_tokenization_spaces: false,
  };
}
