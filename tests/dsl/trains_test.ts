import { assertEquals } from "@std/assert";
import { match } from "../../mod.ts";
import { isTrained, matches } from "../../dsl/trains.ts";

Deno.test("matches: * is any run of characters, ? is one", () => {
  const name = "model.layers.3.self_attn.q_proj.weight";
  const yes = [
    "*",
    "model.*",
    "*.weight",
    "*.self_attn.*",
    "model.layers.?.*",
    name,
    "*q_proj*",
    "**",
  ];
  const no = [
    "",
    "model",
    "*.bias",
    "model.layers.??.*",
    "*.mlp.*",
    name + "?",
    "?" + name,
    "model*x",
  ];
  for (const glob of yes) assertEquals(matches(glob, name), true, glob);
  for (const glob of no) assertEquals(matches(glob, name), false, glob);
  assertEquals(matches("", ""), true);
  assertEquals(matches("*a*b*c", "abcabcab"), false);
  assertEquals(matches("*a*b*c", "abcabcabc"), true);
  assertEquals(matches("a.c", "abc"), false);
});

Deno.test("matches: takes no longer for a malicious glob", () => {
  assertEquals(matches("*a".repeat(2000) + "b", "a".repeat(4000)), false);
});

Deno.test("isTrained: mixers, everything, or names", () => {
  const q = "model.layers.0.self_attn.q_proj.weight";
  assertEquals(isTrained("everything", q, false), true);
  assertEquals(isTrained("mixers", q, false), false);
  assertEquals(isTrained("mixers", q, true), true);
  assertEquals(isTrained(match("*.mlp.*", "*.0.*"), q, false), true);
  assertEquals(isTrained(match("*.mlp.*"), q, true), false);
});
