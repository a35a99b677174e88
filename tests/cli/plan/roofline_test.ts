import { assertEquals, assertMatch } from "@std/assert";
import { rooflineText } from "../../../cli/plan/roofline.ts";
import { fleetOf } from "../../../plan/fleets.ts";
import type { StageRoofline } from "../../../plan/roofline.ts";

const ROOFLINE: StageRoofline = {
  seconds: 7200,
  expected: 14400,
  bound: "link",
  work: [
    { kind: "wkv", flopsPerToken: 2e9, bytesPerToken: 2 ** 20, seconds: 3600, bound: "compute" },
    { kind: "communication", flopsPerToken: 0, bytesPerToken: 512, seconds: 7200, bound: "link" },
  ],
  kernels: [],
};
const STAGE = {
  stage: { name: "long", kind: "distill" },
  planned: 10800,
  roofline: ROOFLINE,
} as const;

Deno.test("roofline text: rows by kind, what is least, and what the paper's share makes of it", () => {
  const text = rooflineText([STAGE], fleetOf("16x RTX 4090")!);
  assertMatch(text, /^recurrence \(wkv\) +2\.00 G +1\.0 MiB +1\.00 h +50 % +compute$/m);
  assertMatch(text, /^communication +0 +512 B +2\.00 h +100 % +link$/m);
  assertMatch(text, /^in all +2\.00 G +2\.00 h +link$/m);
  assertMatch(
    text,
    /^roofline: 2\.00 h at least; 4\.00 h, \$38\.40 where .* the plan says 3\.00 h$/m,
  );
  assertMatch(text, /165\.20 TFLOP\/s in bf16, as its maker states them; .* 31\.50 GB\/s one way/);
  assertMatch(text, / and 12\.50 GB\/s between machines of 8$/m);
  assertEquals(text.includes("cannot be"), false);
});

Deno.test("roofline text: a plan that is faster than its devices is told", () => {
  const text = rooflineText([{ ...STAGE, planned: 3600 }], fleetOf("2x M4 Max")!);
  assertMatch(text, /^long: the plan's 1\.00 h cannot be: .* the links take 2\.00 h at least$/m);
  assertEquals(text.includes("$"), false);
});
