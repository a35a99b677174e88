import { assertEquals, assertThrows } from "@std/assert";
import type { JsonObject } from "../../formats/json.ts";
import { Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import { trainByteLevelBpe } from "../../formats/tokenizer/train.ts";
import { sharedPath } from "../support/shared.ts";
import { fixtureLines } from "./support.ts";

const [FROM_PYTHON] = fixtureLines<JsonObject>("tokenizer", "byte_level.jsonl");

Deno.test("learns what Python's trainer learns", () => {
  const text = Deno.readTextFileSync(sharedPath("text", "wizard-of-oz.txt"));
  const { tokenizer } = trainByteLevelBpe([text], 1024, {
    specialTokens: ["<|endoftext|>", "<|im_start|>"],
  });
  assertEquals(tokenizer, FROM_PYTHON);
});

Deno.test("order of texts does not matter, and parts give the same as the whole", () => {
  const text = Deno.readTextFileSync(sharedPath("text", "wizard-of-oz.txt")).slice(0, 60_000);
  const parts = text.split(/(?<=\n)(?=[A-Za-z])/);
  const whole = trainByteLevelBpe([text], 600);
  assertEquals(trainByteLevelBpe(parts.reverse(), 600), whole);
});

Deno.test("what it makes is a tokenizer whose first special token ends texts", () => {
  const { tokenizer, config } = trainByteLevelBpe(["low lower lowest"], 300, {
    specialTokens: ["<eos>", "<other>"],
  });
  const made = new Tokenizer(tokenizer, config);
  assertEquals([made.eosId, made.padId, made.bosId], [0, 0, undefined]);
  const text = "lowest é 猫 <eos>";
  assertEquals(made.decode(made.encode(text), { special: true }), text);
  assertEquals(made.encode("low<eos>").at(-1), 0);
});

Deno.test("stops where nothing is left to merge", () => {
  const { tokenizer } = trainByteLevelBpe(["abab"], 1000, { specialTokens: [] });
  const { merges, vocab } = tokenizer.model as { merges: unknown; vocab: JsonObject };
  assertEquals(merges, [["a", "b"], ["ab", "ab"]]);
  assertEquals(Object.keys(vocab).length, 258);
  const empty = trainByteLevelBpe([], 256, { specialTokens: [] });
  assertEquals(new Tokenizer(empty.tokenizer, empty.config).encode("hi").length, 2);
});

Deno.test("overlapping pairs are merged from the left, equal counts by lowest ids", () => {
  // aa occurs four times, every other pair once.
  const { tokenizer } = trainByteLevelBpe(["aaaaa", "bbc"], 260, { specialTokens: [] });
  const { merges } = tokenizer.model as { merges: string[][] };
  assertEquals(merges, [["a", "a"], ["b", "b"], ["aa", "a"], ["aa", "aaa"]]);
});

Deno.test("refuses a vocabulary that does not hold the bytes", () => {
  assertThrows(() => trainByteLevelBpe(["x"], 256), RangeError, "at least 257 are needed");
});
