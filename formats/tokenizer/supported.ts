/**
 * Which tokenizer.json files are read: BPE, byte-level or with byte fallback, as the decoders that
 * we convert have it. Anything that would give other ids than Hugging Face's Python library is
 * refused here, rather than tokenised almost right.
 */
import { FormatError, type Problem, show } from "../error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";

/** Ids above this are taken for damage: it is a hundred times any vocabulary. */
const ID_LIMIT = 1 << 24;

const NORMALIZERS = ["NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "Lowercase", "Sequence"];
const PRE_TOKENIZERS = ["ByteLevel", "Split", "Digits", "Metaspace", "Sequence"];
const POST_PROCESSORS = ["TemplateProcessing", "ByteLevel", "Sequence"];
const DECODERS = ["ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace", "Sequence"];

/**
 * A checked tokenizer.json with every part that may be absent filled in.
 * @throws FormatError with everything in it that is not read.
 */
export function checkTokenizer(json: JsonObject, file: string): JsonObject {
  const problems: Problem[] = [];
  const wrong = (at: string, expected: string, value: unknown, advice?: string) =>
    problems.push({ file, at, expected, found: show(value), advice });
  const {
    normalizer = null,
    pre_tokenizer = null,
    post_processor = null,
    decoder = null,
    added_tokens = [],
  } = json;

  checkModel(json.model, wrong);
  checkAddedTokens(added_tokens, wrong);
  const kinds = (at: string, value: unknown, known: readonly string[], nested: string) =>
    checkKinds(at, value, known, nested, wrong);
  kinds("normalizer", normalizer, NORMALIZERS, "normalizers");
  kinds("pre_tokenizer", pre_tokenizer, PRE_TOKENIZERS, "pretokenizers");
  kinds("post_processor", post_processor, POST_PROCESSORS, "processors");
  if (decoder === null) wrong("decoder", `one of ${DECODERS.join(", ")}`, decoder);
  kinds("decoder", decoder, DECODERS, "decoders");

  if (problems.length > 0) throw new FormatError(problems);
  const model = { ...json.model as JsonObject, type: "BPE" };
  return { ...json, model, normalizer, pre_tokenizer, post_processor, decoder, added_tokens };
}

type Wrong = (at: string, expected: string, value: unknown, advice?: string) => void;

const isId = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value < ID_LIMIT;

function checkModel(model: unknown, wrong: Wrong): void {
  if (!isJsonObject(model)) return wrong("model", "an object", model);
  // Files of old versions do not name the type.
  if ((model.type ?? "BPE") !== "BPE") {
    return wrong("model.type", "BPE", model.type, "only BPE tokenizers are read");
  }
  const { vocab, merges } = model;
  if (!isJsonObject(vocab)) wrong("model.vocab", "an object of ids", vocab);
  else {
    const owners = new Map<number, string>();
    for (const [piece, id] of Object.entries(vocab)) {
      const at = `model.vocab ${show(piece)}`;
      if (!isId(id)) wrong(at, `an id below ${ID_LIMIT}`, id);
      else if (owners.has(id)) wrong(at, "an id of its own", `${id}, as ${show(owners.get(id))}`);
      else owners.set(id, piece);
    }
  }
  if (!Array.isArray(merges)) wrong("model.merges", "a list of pairs", merges);
  else if (isJsonObject(vocab)) {
    for (const [i, merge] of merges.entries()) {
      const pair = typeof merge === "string" ? merge.split(" ") : merge;
      const fits = Array.isArray(pair) && pair.length === 2 &&
        pair.every((side) => typeof side === "string") &&
        [pair[0], pair[1], pair[0] + pair[1]].every((piece) => Object.hasOwn(vocab, piece));
      if (!fits) wrong(`model.merges[${i}]`, "two pieces that join to a piece of vocab", merge);
    }
  }
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[key]) wrong(`model.${key}`, "none", model[key], "such vocabularies are not read");
  }
}

function checkAddedTokens(tokens: unknown, wrong: Wrong): void {
  if (!Array.isArray(tokens)) return wrong("added_tokens", "a list", tokens);
  for (const [i, token] of tokens.entries()) {
    const at = `added_tokens[${i}]`;
    if (!isJsonObject(token)) wrong(at, "an object", token);
    else {
      if (!isId(token.id)) wrong(`${at}.id`, `an id below ${ID_LIMIT}`, token.id);
      if (typeof token.content !== "string" || token.content === "") {
        wrong(`${at}.content`, "a text", token.content);
      }
      if (token.single_word) {
        wrong(
          `${at}.single_word`,
          "false",
          true,
          "tokens that match whole words only are not read",
        );
      }
    }
  }
}

/** Each step, and each step of a sequence, must be of a known kind and without unread options. */
function checkKinds(
  at: string,
  value: unknown,
  known: readonly string[],
  nested: string,
  wrong: Wrong,
): void {
  if (value === null) return;
  if (!isJsonObject(value)) return wrong(at, "an object or null", value);
  const { type } = value;
  if (typeof type !== "string" || !known.includes(type)) {
    return wrong(`${at}.type`, `one of ${known.join(", ")}`, type);
  }
  if (type === "Sequence") {
    const steps = value[nested];
    if (!Array.isArray(steps)) return wrong(`${at}.${nested}`, "a list", steps);
    for (const [i, step] of steps.entries()) {
      checkKinds(`${at}.${nested}[${i}]`, step, known, nested, wrong);
    }
  } else if (type === "Split") {
    const { behavior, invert = false } = value;
    const read = (behavior === "Isolated" && invert === false) || behavior === "Removed";
    if (!read) {
      wrong(at, "behavior Isolated without invert, or Removed", `${behavior}, invert ${invert}`);
    }
  } else if (type === "Strip" && at.startsWith("decoder")) {
    if (value.stop) wrong(`${at}.stop`, "0", value.stop, "trailing text is not stripped");
  }
}
