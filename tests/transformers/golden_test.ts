/** The modelling code that goes with checkpoints, held against golden values by PyTorch. */

import { assert } from "@std/assert";
import { preparePython, runPython } from "../../bench/python.ts";
import { sharedPath } from "../support/shared.ts";

Deno.test("modelling code: blocks, checkpoints, gradients, states and padding", async () => {
  await preparePython(console.error);
  const output = await runPython([
    "tests/transformers/golden.py",
    "formats/hf_modeling",
    sharedPath("golden"),
    "tests/models/fixtures/golden",
  ]);
  const lines: { what: string; error: number; tolerance: number }[] = output.trimEnd().split("\n")
    .map((line) => JSON.parse(line));
  const wrong = lines.filter(({ error, tolerance }) => !(error <= tolerance));
  assert(
    wrong.length === 0,
    wrong.map(({ what, error, tolerance }) => `${what}: error ${error}, at most ${tolerance}`)
      .join("\n"),
  );
  for (const name of ["rad_rwkv6_rope", "rad_rwkv7_h", "tiny-rwkv6", "tiny-rwkv7gn", "wkv7"]) {
    assert(lines.some(({ what }) => what.startsWith(name)), `${name} was not compared`);
  }
});
