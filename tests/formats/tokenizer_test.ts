import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { JsonObject } from "../../formats/json.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import { loadTokenizer } from "../../formats/tokenizer/load.ts";
import { sharedPath } from "../support/shared.ts";
import { fixtureLines, fixturePath, messageOf, withFolder } from "./support.ts";

const STORIES = sharedPath("models", "stories260k");
const readJson = (path: string) => JSON.parse(Deno.readTextFileSync(path));

/** The two kinds of tokenizer: byte-level BPE from Python's trainer, BPE with byte fallback. */
const [BYTE_LEVEL, BYTE_LEVEL_CONFIG] = fixtureLines<JsonObject>("tokenizer", "byte_level.jsonl");
const BASES: Readonly<Record<string, JsonObject>> = {
  byte_level: BYTE_LEVEL,
  stories260k: readJson(join(STORIES, "tokenizer.json")),
};
const KINDS = Object.keys(BASES);

/** What make_fixtures.py calls a checksum of ids. */
const checksum = (ids: Int32Array) => crc32(new Uint8Array(ids.buffer));

interface DecodeCase {
  readonly ids: readonly number[];
  readonly text: string;
  readonly special: string;
}

function checkDecoding(tokenizer: Tokenizer, { ids, text, special }: DecodeCase): void {
  assertEquals(tokenizer.decode(ids), text, `ids ${ids}`);
  assertEquals(tokenizer.decode(ids, { special: true }), special, `ids ${ids}`);
}

Deno.test("stories260k: ids, text and special tokens as expected", () => {
  const tokenizer = loadTokenizer(STORIES);
  const { prompts } = readJson(join(STORIES, "expected.json"));
  for (const { text, ids, decoded } of prompts) {
    assertEquals([...tokenizer.encode(text)], ids);
    assertEquals([...tokenizer.encode(text, { special: false })], ids.slice(1));
    assertEquals(tokenizer.decode(ids), decoded);
  }
  assertEquals(
    [tokenizer.vocabularySize, tokenizer.bosId, tokenizer.eosId, tokenizer.padId],
    [512, 1, 2, undefined],
  );
});

for (const kind of KINDS) {
  const tokenizer = new Tokenizer(BASES[kind]);

  Deno.test(`${kind}: equals Python on every tenth line of the shared texts`, () => {
    const lines = ["wizard-of-oz.txt", "shakespeare.txt"]
      .flatMap((name) => Deno.readTextFileSync(sharedPath("text", name)).split("\n"))
      .filter((_, i) => i % 10 === 0);
    assert(lines.length > 4000);
    using store = openSafetensors(fixturePath("tokenizer", "line_checksums.safetensors"));
    const expected = store.readI32(kind);
    assertEquals(lines.length, expected.length);
    for (const [i, line] of lines.entries()) {
      const ids = tokenizer.encode(line);
      assertEquals(checksum(ids), expected[i] >>> 0, `line ${i}: ${JSON.stringify(line)}`);
      // NFC aside, which these texts are in, text survives.
      assertEquals(tokenizer.decode(ids), line);
    }
  });

  Deno.test(`${kind}: equals Python on text of all scripts`, () => {
    const lines = fixtureLines<{ text: string } & Record<string, number[]>>(
      "tokenizer",
      "unicode.jsonl",
    );
    for (const line of lines) {
      const ids = [...tokenizer.encode(line.text, { special: false })];
      assertEquals(ids, line[kind], JSON.stringify(line.text));
    }
  });

  Deno.test(`${kind}: decodes any ids as Python does`, () => {
    const cases = fixtureLines<DecodeCase & { tokenizer: string }>("tokenizer", "decode.jsonl");
    for (const item of cases) if (item.tokenizer === kind) checkDecoding(tokenizer, item);
    assertEquals(tokenizer.decode([]), "");
    assertEquals(tokenizer.decode([-1, 1e9]), "");
  });

  Deno.test(`${kind}: streamed text is whole and adds up`, () => {
    for (const { text } of fixtureLines<{ text: string }>("tokenizer", "unicode.jsonl")) {
      const ids = tokenizer.encode(text);
      const stream = tokenizer.stream();
      const parts = [...ids].map((id) => stream.push(id));
      for (const part of parts) assert(part.isWellFormed() && !part.includes("\ufffd"), part);
      assertEquals(parts.join("") + stream.end(), tokenizer.decode(ids));
    }
  });
}

Deno.test("long texts give the ids of their parts", () => {
  const tokenizer = new Tokenizer(BYTE_LEVEL);
  const text = Deno.readTextFileSync(sharedPath("text", "wizard-of-oz.txt")).slice(0, 50_000);
  // A line's end is always a piece's end, and a letter after it begins one.
  const parts = text.split(/(?<=\n)(?=[A-Za-z])/);
  assert(parts.length > 500);
  assertEquals(
    [...tokenizer.encode(text)],
    parts.flatMap((part) => [...tokenizer.encode(part)]),
  );
});

Deno.test("other forms of tokenizers equal Python", () => {
  interface Variant {
    readonly name: string;
    readonly base: string;
    readonly patch: JsonObject;
    readonly checksums: readonly number[];
    readonly decode: readonly DecodeCase[];
  }
  const texts = fixtureLines<{ text: string }>("tokenizer", "unicode.jsonl");
  const variants = fixtureLines<Variant>("tokenizer", "variants.jsonl");
  assertEquals(new Set(variants.map(({ checksums }) => checksums.join())).size, variants.length);
  for (const { name, base, patch, checksums, decode } of variants) {
    const tokenizer = new Tokenizer(patched(BASES[base], patch));
    for (const [i, { text }] of texts.entries()) {
      assertEquals(checksum(tokenizer.encode(text)), checksums[i], `${name}: ${text}`);
    }
    for (const item of decode) checkDecoding(tokenizer, item);
  }
});

/** A copy with other values at top-level keys, or at `model.` ones. */
function patched(base: JsonObject, patch: JsonObject): JsonObject {
  const copy = { ...base, model: { ...base.model as JsonObject } } as Record<string, unknown>;
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith("model.")) (copy.model as Record<string, unknown>)[key.slice(6)] = value;
    else copy[key] = value;
  }
  return copy;
}

Deno.test("streams special tokens where asked, and broken UTF-8 when it is certain", () => {
  const tokenizer = new Tokenizer(BYTE_LEVEL);
  const cat = tokenizer.encode("猫");
  assertEquals(cat.length, 3);
  const stream = tokenizer.stream({ special: true });
  const eos = tokenizer.idOf("<|endoftext|>") as number;
  assertEquals(stream.push(eos), "<|endoftext|>");
  assertEquals([...cat].map((id) => stream.push(id)), ["", "", "猫"]);
  assertEquals(stream.push(cat[0]), "");
  assertEquals(stream.push(tokenizer.idOf("a") as number), "\ufffda");
  assertEquals(stream.push(cat[0]), "");
  assertEquals(stream.end(), "\ufffd");
  assertEquals(stream.push(tokenizer.idOf("b") as number), "b");
  assertEquals(tokenizer.stream().push(eos), "");
});

Deno.test("a stream drops the space that the tokenizer put first, and no other", () => {
  const tokenizer = loadTokenizer(STORIES);
  const stream = tokenizer.stream();
  const once = tokenizer.encode(" once  upon");
  assertEquals([...once].map((id) => stream.push(id)).join("") + stream.end(), " once  upon");
});

Deno.test("ids of special tokens, however the config names them", () => {
  const tokenizer = new Tokenizer(BYTE_LEVEL, BYTE_LEVEL_CONFIG);
  assertEquals([tokenizer.eosId, tokenizer.padId, tokenizer.bosId], [0, 0, undefined]);
  assertEquals(tokenizer.vocabularySize, 1024);
  assertEquals(tokenizer.tokenOf(0), "<|endoftext|>");
  assertEquals(tokenizer.idOf("no such token"), undefined);
});

Deno.test("the vocabulary's size counts added tokens", () => {
  const added = [{ id: 2000, content: "<new>", special: true }];
  assertEquals(new Tokenizer({ ...BYTE_LEVEL, added_tokens: added }).vocabularySize, 2001);
});

Deno.test("a folder without tokenizer_config.json, without tokenizer.json", () => {
  withFolder((folder) => {
    assertStringIncludes(messageOf(() => loadTokenizer(folder)), "tokenizer.json: expected a file");
    Deno.writeTextFileSync(join(folder, "tokenizer.json"), JSON.stringify(BYTE_LEVEL));
    assertEquals(loadTokenizer(folder).eosId, undefined);
    Deno.writeTextFileSync(
      join(folder, "tokenizer_config.json"),
      JSON.stringify(BYTE_LEVEL_CONFIG),
    );
    assertEquals(loadTokenizer(folder).eosId, 0);
    Deno.writeTextFileSync(join(folder, "tokenizer.json"), "[]");
    assertStringIncludes(messageOf(() => loadTokenizer(folder)), "expected a JSON object");
  });
});

const model = BYTE_LEVEL.model as JsonObject;

for (
  const [what, patch, expected] of [
    ["no model", { model: null }, "model: expected an object, found null"],
    ["another kind", { "model.type": "Unigram" }, 'model.type: expected BPE, found "Unigram"'],
    ["no vocabulary", { "model.vocab": [] }, "model.vocab: expected an object of ids"],
    ["half an id", { "model.vocab": { a: 0.5 } }, 'model.vocab "a": expected an id below'],
    ["a huge id", { "model.vocab": { a: 1e9 } }, "expected an id below 16777216"],
    ["an id twice", { "model.vocab": { a: 0, b: 0 } }, 'expected an id of its own, found "0, as'],
    ["no merges", { "model.merges": {} }, "model.merges: expected a list of pairs"],
    ["a merge of one", { "model.merges": [["a"]] }, "model.merges[0]: expected two pieces"],
    ["a merge to no piece", { "model.merges": [["Q", "Q"]] }, "that join to a piece of vocab"],
    ["a prefix", { "model.continuing_subword_prefix": "##" }, "such vocabularies are not read"],
    ["a strange step", { pre_tokenizer: { type: "Bert" } }, "pre_tokenizer.type: expected one of"],
    ["no decoder", { decoder: null }, "decoder: expected one of ByteLevel"],
    ["a step without type", { normalizer: {} }, "normalizer.type: expected one of NFC"],
    [
      "a step within a sequence",
      { decoder: { type: "Sequence", decoders: [{ type: "CTC" }] } },
      "decoder.decoders[0].type: expected one of",
    ],
    [
      "a way to split that the library does not know",
      { pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithNext" } },
      "expected behavior Isolated without invert, or Removed",
    ],
    [
      "a strip that is not last",
      { decoder: { type: "Sequence", decoders: [{ type: "Strip", content: " ", start: 1 }] } },
      "decoder: expected Strip after Fuse",
    ],
    [
      "bytes and text mixed",
      {
        decoder: { type: "Sequence", decoders: [{ type: "ByteLevel" }, { type: "ByteFallback" }] },
      },
      "decoder: expected ByteLevel alone",
    ],
    [
      "whole words only",
      { added_tokens: [{ id: 1, content: "a", single_word: true }] },
      "tokens that match whole words only are not read",
    ],
    ["a token without text", { added_tokens: [{ id: 1 }] }, "added_tokens[0].content: expected"],
    [
      "an expression that is none",
      { pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
      "expected a tokenizer that @huggingface/tokenizers reads",
    ],
    [
      "a template with an unknown token",
      {
        post_processor: {
          type: "TemplateProcessing",
          single: [{ SpecialToken: { id: "<x>", type_id: 0 } }, { Sequence: { id: "A" } }],
          pair: [],
          special_tokens: {},
        },
      },
      "post_processor: expected tokens of the vocabulary",
    ],
  ] as ReadonlyArray<readonly [string, JsonObject, string]>
) {
  Deno.test(`refuses a tokenizer with ${what}`, () => {
    assertStringIncludes(messageOf(() => new Tokenizer(patched(BYTE_LEVEL, patch))), expected);
  });
}

Deno.test("reports all problems of a tokenizer at once", () => {
  const message = messageOf(() =>
    new Tokenizer({ model: { ...model, merges: null }, decoder: { type: "X" }, added_tokens: 1 })
  );
  for (const part of ["3 problems", "model.merges", "decoder.type", "added_tokens"]) {
    assertStringIncludes(message, part);
  }
});
