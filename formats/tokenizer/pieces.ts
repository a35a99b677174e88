/**
 * BPE over the pieces of a text, with the ids of each piece kept: words recur, and the ids of a
 * piece do not depend on its neighbours.
 */
import type { Model } from "@huggingface/tokenizers";
import type { JsonObject } from "../json.ts";
import { byteLevelText, type Stage, stagesOf } from "./stages.ts";

/** Longest piece whose ids are kept: longer ones hardly recur. */
const KEPT_CHARACTERS = 64;

/** So many pieces are kept; then all are forgotten, which costs less than to choose. */
const KEPT_PIECES = 1 << 18;

/** The mark that SentencePiece writes for a space. */
const MARK = "▁";

/** Turns normalised text without added tokens into ids. */
export class PieceEncoder {
  readonly #split: readonly Stage[];
  readonly #byteLevel: boolean;
  readonly #model: Model;
  readonly #kept = new Map<string, readonly number[]>();

  /** @param json a checked tokenizer.json; `model` is the library's, made from it */
  constructor(json: JsonObject, model: Model) {
    const { split, byteLevel } = stagesOf(json.pre_tokenizer as JsonObject | null);
    const marks = !byteLevel && endsBeforeMark(json.model as JsonObject);
    this.#split = marks ? [...split, splitAtMarks] : split;
    this.#byteLevel = byteLevel;
    this.#model = model;
  }

  /** Ids of the pieces of a text, piece by piece. `first`: the text begins the input. */
  encode(text: string, first: boolean): readonly (readonly number[])[] {
    let pieces: readonly string[] = [text];
    for (const stage of this.#split) {
      pieces = pieces.length === 1
        ? stage(pieces[0], first)
        : pieces.flatMap((piece, i) => stage(piece, first && i === 0));
    }
    return pieces.map((piece) => this.#idsOf(piece));
  }

  #idsOf(piece: string): readonly number[] {
    const kept = this.#kept.get(piece);
    if (kept !== undefined) return kept;
    const tokens = this.#model(this.#byteLevel ? [byteLevelText(piece)] : [piece]);
    const ids: number[] = [];
    for (const token of tokens) {
      const id = this.#model.tokens_to_ids.get(token) ?? this.#model.unk_token_id;
      if (id !== undefined) ids.push(id);
    }
    if (piece.length <= KEPT_CHARACTERS) {
      if (this.#kept.size >= KEPT_PIECES) this.#kept.clear();
      this.#kept.set(piece, ids);
    }
    return ids;
  }
}

/**
 * Whether a vocabulary in SentencePiece's manner may be applied word by word: where no merge joins
 * a character to a mark after it, no merge can reach over that place, so that the two sides are
 * merged alike together and apart. Unknown characters must not be fused across it either.
 */
function endsBeforeMark(model: JsonObject): boolean {
  const { merges, vocab, byte_fallback, fuse_unk, ignore_merges } = model as {
    readonly merges: readonly (string | readonly [string, string])[];
    readonly vocab: JsonObject;
    readonly byte_fallback?: boolean;
    readonly fuse_unk?: boolean;
    readonly ignore_merges?: boolean;
  };
  if (ignore_merges || (fuse_unk && !(byte_fallback && hasAllBytes(vocab)))) return false;
  return merges.every((merge) => {
    const joined = typeof merge === "string" ? merge.replace(" ", "") : merge.join("");
    return !/[^▁]▁/u.test(joined);
  });
}

function hasAllBytes(vocab: JsonObject): boolean {
  for (let byte = 0; byte < 256; byte++) {
    const digits = byte.toString(16).toUpperCase().padStart(2, "0");
    if (!Object.hasOwn(vocab, `<0x${digits}>`)) return false;
  }
  return true;
}

function splitAtMarks(text: string): readonly string[] {
  return text.includes(MARK) ? text.match(/▁*[^▁]+|▁+/gu) ?? [] : [text];
}
