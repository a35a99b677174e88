import { assertEquals } from "@std/assert";
import { isCommit, isModelName, isRevision } from "../../dsl/model_name.ts";
import { hash } from "../../dsl/json.ts";
import { extend, fromJson, teacher, toJson } from "../../mod.ts";
import { conversion } from "./example.ts";

const each = (test: (text: string) => boolean, texts: readonly string[]) =>
  texts.map((text) => [text, test(text)]);

const all = (texts: readonly string[], value: boolean) => texts.map((text) => [text, value]);

Deno.test("names of models: an organisation and a model, as huggingface_hub allows them", () => {
  const names = ["Qwen/Qwen2.5-0.5B-Instruct", "a/b", "01-ai/Yi_6B", "_x/y", "assets/teacher"];
  assertEquals(each(isModelName, names), all(names, true));
  const others = ["gpt2", "./a/b", "/a/b", "a/b/", "a//b", "a/b/c", "a\\b", "a/b--c", "a/b..c"];
  others.push("-a/b", "a/-b", "a/b-", "a/b.", "a/b.git", "a b/c", "a/b@c", "ä/b", "a/b\n", "");
  others.push(`a/${"b".repeat(95)}`);
  assertEquals(each(isModelName, others), all(others, false));
});

Deno.test("revisions: branches, tags and commits", () => {
  const revisions = ["main", "v1.0", "refs/pr/12", "c0ffee1", "0".repeat(40), "step_100-b"];
  assertEquals(each(isRevision, revisions), all(revisions, true));
  const others = ["", "..", "a/../b", "/main", "main/", "a//b", ".hidden", "a.", "a b", "x.lock"];
  others.push("a\\b", "-x", "b".repeat(256));
  assertEquals(each(isRevision, others), all(others, false));
  assertEquals(["0".repeat(40), "main", "A".repeat(40)].map(isCommit), [true, false, false]);
});

Deno.test("teacher: a revision is kept in JSON and counts in the hash; without one nothing is", () => {
  const named = (revision?: string) =>
    extend(conversion, { teacher: teacher("Qwen/Qwen2.5-0.5B-Instruct", { revision }) });
  assertEquals(named().teacher, { kind: "checkpoint", location: "Qwen/Qwen2.5-0.5B-Instruct" });
  assertEquals(fromJson(toJson(named("v1"))), named("v1"));
  assertEquals(new Set([named(), named("main"), named("v1")].map(hash)).size, 3);
});
