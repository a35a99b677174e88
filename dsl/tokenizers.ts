/** The tokenizer of a new model: made from the recipe's text, or an existing one. */
import {
  checked,
  defaulted,
  inside,
  integer,
  list,
  object,
  oneOf,
  path,
  type Reader,
  refuseAs,
  required,
  sound,
  string,
  tagged,
} from "./schema.ts";

/** A byte-level BPE tokenizer, made from the recipe's text before training. */
export interface ByteLevelBpe {
  readonly kind: "byteLevelBpe";
  /** Size of the vocabulary: 256 bytes, merges and special tokens. */
  readonly pieces: number;
  readonly specialTokens: readonly string[];
}

/** An existing tokenizer.json, or the directory that holds it. */
export interface TokenizerFile {
  readonly kind: "file";
  readonly location: string;
}

export type Tokenizer = ByteLevelBpe | TokenizerFile;

export interface ByteLevelBpeOptions {
  /** Default `["<|endoftext|>"]`, the end of a document in Qwen's tokenizers. */
  readonly specialTokens?: readonly string[];
}

const BYTES = 256;
const PIECES_LIMIT = 2 ** 20;
const SPECIAL_TOKENS = Object.freeze(["<|endoftext|>"]);

/** A byte-level BPE tokenizer of `pieces` pieces, bytes and special tokens included. */
export const byteLevelBpe = (pieces: number, options: ByteLevelBpeOptions = {}): ByteLevelBpe => {
  return Object.freeze({
    specialTokens: SPECIAL_TOKENS,
    ...options,
    kind: "byteLevelBpe",
    pieces,
  });
};

const readBpe = checked(
  object<ByteLevelBpe>("byteLevelBpe(pieces)", {
    kind: required(oneOf("byteLevelBpe")),
    pieces: required(integer(BYTES, PIECES_LIMIT)),
    specialTokens: defaulted(
      list(string("a special token"), "a list of special tokens"),
      SPECIAL_TOKENS,
    ),
  }),
  ({ pieces, specialTokens }, at) => {
    if (!sound(at, "pieces", "specialTokens")) return;
    const least = BYTES + specialTokens.length;
    if (pieces >= least) return;
    const expected = `at least ${least}: ${BYTES} bytes and the special tokens`;
    refuseAs(inside(at, "pieces"), expected, `${pieces}`);
  },
);

const readKind = tagged<Tokenizer>('byteLevelBpe(pieces) or "path/tokenizer.json"', {
  byteLevelBpe: readBpe,
  file: object<TokenizerFile>('"path/tokenizer.json"', {
    kind: required(oneOf("file")),
    location: required(path("a path")),
  }),
});

/** Reads a tokenizer; a text is the path of an existing one. */
export const readTokenizer: Reader<Tokenizer> = (value, at) => {
  return readKind(typeof value === "string" ? { kind: "file", location: value } : value, at);
};
