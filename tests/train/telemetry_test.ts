import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FormatError } from "../../formats/error.ts";
import { compareLosses, readLosses, type StageLosses } from "../../train/telemetry.ts";
import { temporaryFolder } from "../support/checkpoint.ts";

/** Lines of a stage as a run writes them. */
const lines = (stageIndex: number, stage: string, losses: readonly number[]) =>
  losses.map((loss, i) => JSON.stringify({ stageIndex, stage, step: i + 1, loss }));

const KEPT = '{"stageIndex":1,"step":0,"keptAttention":{"layers":[1]}}';

Deno.test("telemetry: the losses of every step, from a folder or a file, without a cut line", () => {
  using temporary = temporaryFolder();
  const file = join(temporary.folder, "telemetry.jsonl");
  const all = [...lines(0, "align", [3, 2, 1.5, 1.25]), KEPT, ...lines(1, "distill", [1, 0.5])];
  Deno.writeTextFileSync(file, `${all.join("\n")}\n{"stageInd`);
  const expected = [
    { stage: "align", losses: [3, 2, 1.5, 1.25] },
    { stage: "distill", losses: [1, 0.5] },
  ];
  assertEquals(readLosses(temporary.folder), expected);
  assertEquals(readLosses(file), expected);
});

Deno.test("telemetry: what is none is refused with its line", () => {
  using temporary = temporaryFolder();
  const file = join(temporary.folder, "telemetry.jsonl");
  const [first, second] = lines(0, "align", [3, 2]);
  const refused = (content: readonly string[], message: string) => {
    Deno.writeTextFileSync(file, content.map((line) => `${line}\n`).join(""));
    assertThrows(() => readLosses(file), FormatError, message);
  };
  refused(["A title", first], "line 1: expected a JSON object, found none; name the folder");
  refused([first, "[1]"], "line 2: expected a JSON object, found [1]");
  refused([first, '{"loss":1}'], "line 2: expected stage and loss of a step, found loss");
  refused([first, first], "line 2: expected step 2 of align, found step 1");
  refused([second], "line 1: expected step 1 of align, found step 2");
  refused(lines(2, "align", [1]), "line 1: expected a step of stage 0, found stageIndex 2");
  refused([], "expected a line a step, found no step");
  assertThrows(() => readLosses(join(temporary.folder, "none")), FormatError, "no such file");
});

const stage = (losses: readonly number[], name = "align"): StageLosses => ({ stage: name, losses });

Deno.test("telemetry: two runs are compared as far as both have come", () => {
  const a = Array.from({ length: 150 }, () => 2);
  const b = a.map((loss, i) => loss * (1 + (i < 4 ? 0 : i < 10 ? 1 : i < 100 ? -4 : 16) / 1024));
  const [found, ...others] = compareLosses([
    [stage(a), stage([1], "distill")],
    [stage([...b, 7])],
  ], ["A", "B"]);
  assertEquals(others, []);
  assertEquals(found, {
    ...{ stage: "align", compared: 150, steps: [150, 151], equal: 4 },
    ...{ first10: 1 / 1024, first100: 4 / 1024, largest: 16 / 1024 },
    mean: (6 + 90 * 4 + 50 * 16) / 1024 / 150,
    last: [2, 2 + 32 / 1024],
  });
  const [same] = compareLosses([[stage(a)], [stage(a)]], ["A", "B"]);
  assertEquals([same.equal, same.largest, same.mean], [150, 0, 0]);
  const other = [stage(a, "distill")];
  const message = "B: stage 1: expected align, as in A, found distill; compare runs";
  assertThrows(() => compareLosses([[stage(a)], other], ["A", "B"]), FormatError, message);
});
