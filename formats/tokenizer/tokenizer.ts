/** Text to ids and back, as the tokenizer.json of a checkpoint says. */
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { FormatError, quote } from "../error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import { type AddedToken, addedToken, type Section, sectionSplitter } from "./added_tokens.ts";
import { type Decoding, decodingOf, type TextStream } from "./decoding.ts";
import { PieceEncoder } from "./pieces.ts";
import { checkTokenizer } from "./supported.ts";

export type { TextStream } from "./decoding.ts";

/**
 * A tokenizer. Its ids equal those of Hugging Face's Python library for the same files; only where
 * that library's older Unicode tables order rare marks otherwise (U+0EBA) can normalised text differ.
 */
export class Tokenizer {
  /** The highest id and one: the least rows that an embedding must have. */
  readonly vocabularySize: number;
  /** Id of the token that ends a text, that begins one, that fills a batch, if there is one. */
  readonly eosId: number | undefined;
  readonly bosId: number | undefined;
  readonly padId: number | undefined;

  readonly #library: Library;
  readonly #pieces: PieceEncoder;
  readonly #decoding: Decoding;
  readonly #split: (text: string) => readonly Section[];
  readonly #splitNormalized: (text: string) => readonly Section[];
  readonly #before: readonly number[];
  readonly #after: readonly number[];

  /**
   * @param tokenizer the contents of tokenizer.json
   * @param config the contents of tokenizer_config.json
   * @param file what messages name
   * @throws FormatError with everything in them that is wrong or not read.
   */
  constructor(tokenizer: JsonObject, config: JsonObject = {}, file = "tokenizer.json") {
    const json = checkTokenizer(tokenizer, file);
    this.#library = makeLibrary(json, file);
    const { model, normalizer } = this.#library;
    if (model === null) throw new Error("the library made no model");
    this.#pieces = new PieceEncoder(json, model);

    const added = (json.added_tokens as JsonObject[]).map(addedToken);
    // Without a normalizer the two kinds differ in nothing but their order.
    this.#split = sectionSplitter(
      added.filter((token) => !token.normalized),
      ({ content }) => content,
    );
    this.#splitNormalized = sectionSplitter(
      added.filter((token) => token.normalized),
      ({ content }) => normalizer === null ? content : normalizer(content),
    );
    const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
    this.#decoding = decodingOf(json.decoder as JsonObject, model.vocab, special, file);
    this.vocabularySize = model.vocab.length;

    const [before, after] = this.#template(file);
    this.#before = before;
    this.#after = after;
    this.eosId = this.#named(config.eos_token, added);
    this.bosId = this.#named(config.bos_token, added);
    this.padId = this.#named(config.pad_token, added);
  }

  /**
   * Ids of a text. Added tokens in the text, `<|endoftext|>` for one, become their ids.
   * @param options.special whether what the tokenizer puts around a text is added. Default true.
   */
  encode(text: string, options: { readonly special?: boolean } = {}): Int32Array {
    const special = options.special ?? true;
    const parts: (readonly number[])[] = special ? [this.#before] : [];
    const normalizer = this.#library.normalizer;
    let first = true;
    for (const section of this.#split(text)) {
      if (typeof section === "number") parts.push([section]);
      else {
        const normalized = normalizer === null ? section : normalizer(section);
        for (const part of this.#splitNormalized(normalized)) {
          if (typeof part === "number") parts.push([part]);
          else for (const ids of this.#pieces.encode(part, first)) parts.push(ids);
          first = false;
        }
      }
      first = false;
    }
    if (special) parts.push(this.#after);
    return concatenate(parts);
  }

  /**
   * Text of ids. Ids that stand for no token give nothing; broken UTF-8 gives U+FFFD. Spaces are
   * not tidied (`clean_up_tokenization_spaces`), so that text survives the way there and back.
   * @param options.special whether special tokens are shown. Default false.
   */
  decode(ids: Iterable<number>, options: { readonly special?: boolean } = {}): string {
    return this.#decoding.decode(ids, !(options.special ?? false));
  }

  /** A decoder for ids that come one by one. */
  stream(options: { readonly special?: boolean } = {}): TextStream {
    return this.#decoding.stream(!(options.special ?? false));
  }

  /** The id of a token by its exact text in the vocabulary. */
  idOf(token: string): number | undefined {
    return this.#library.token_to_id(token);
  }

  /** The text of a token in the vocabulary, in the vocabulary's own alphabet. */
  tokenOf(id: number): string | undefined {
    return this.#library.id_to_token(id);
  }

  /** The ids that the post-processor puts before and after a text. */
  #template(file: string): readonly [before: readonly number[], after: readonly number[]] {
    const process = this.#library.post_processor;
    if (process === null) return [[], []];
    const text = "\0text\0";
    const { tokens } = process([text], null, true);
    const at = tokens.indexOf(text);
    const ids = tokens.map((token) => this.idOf(token));
    const known = ids.every((id, i) => i === at || id !== undefined);
    if (at === -1 || !known) {
      throw new FormatError({
        file,
        at: "post_processor",
        expected: "tokens of the vocabulary around the text",
        found: quote(tokens.join(" ")),
      });
    }
    return [ids.slice(0, at) as number[], ids.slice(at + 1) as number[]];
  }

  /** The id of a token that tokenizer_config.json names by its text, or as an object. */
  #named(entry: unknown, added: readonly AddedToken[]): number | undefined {
    const content = isJsonObject(entry) ? entry.content : entry;
    if (typeof content !== "string") return undefined;
    return added.find((token) => token.content === content)?.id ?? this.idOf(content);
  }
}

function makeLibrary(json: JsonObject, file: string): Library {
  try {
    return new Library(json, {});
  } catch (error) {
    throw new FormatError({
      file,
      expected: "a tokenizer that @huggingface/tokenizers reads",
      found: quote(error instanceof Error ? error.message : String(error)),
    }, { cause: error });
  }
}

function concatenate(parts: readonly (readonly number[])[]): Int32Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const ids = new Int32Array(length);
  let at = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) ids[at++] = part[i];
  }
  return ids;
}

/** The ids and one more after them. */
export function appended(ids: Int32Array, id: number): Int32Array {
  const longer = new Int32Array(ids.length + 1);
  longer.set(ids);
  longer[ids.length] = id;
  return longer;
}
