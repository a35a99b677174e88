import { assertThrows } from "@std/assert";
import * as g from "../../graph/build.ts";
import { gradients } from "../../graph/gradient.ts";
import { schedule } from "../../graph/schedule.ts";
import type { Tensor, WeightDType } from "../../graph/tensor.ts";

const TYPES: readonly WeightDType[] = ["bf16", "q8_0", "q4_0"];

Deno.test("stored weights: matrices, whose rows are whole blocks", () => {
  assertThrows(() => g.input("w", [64], "bf16"), Error, "input w bf16 [64]: expected a matrix");
  assertThrows(() => g.input("w", [2, 4, 32], "q8_0"), Error, "expected a matrix");
  assertThrows(
    () => g.input("w", [4, 40], "q4_0"),
    Error,
    "input w q4_0 [4, 40]: expected columns in blocks of 32",
  );
});

Deno.test("stored weights: read by products and embeddings, refused by all else", () => {
  for (const dtype of TYPES) {
    const w = g.input("w", [32, 32], dtype);
    const x = g.input("x", [32, 32]);
    const refused: Record<string, () => Tensor> = {
      copy: () => g.copy(w),
      exp: () => g.exp(w),
      add: () => g.add(x, w),
      equal: () => g.equal(x, w),
      select: () => g.select(w, x, 0),
      sum: () => g.sum(w, [0]),
      reshape: () => g.reshape(w, [1024]),
      permute: () => g.permute(w, [1, 0]),
      expand: () => g.expand(w, [2, 32, 32]),
      slice: () => g.slice(w, 0, 0, 16),
      pad: () => g.pad(w, [0, 0], [40, 32]),
      concat: () => g.concat([w, w], 0),
      matmul: () => g.matmul(x, w),
      rms_norm: () => g.rmsNorm(x, w, 1e-6),
    };
    for (const [name, build] of Object.entries(refused)) {
      assertThrows(build, Error, `graph: ${name} of`, `${name} of ${dtype}`);
    }
    assertThrows(() => g.matmul(w, x, { transposeB: true }), Error, "expected f32");
    assertThrows(
      () => g.matmul(x, w, { transposeA: true, transposeB: true }),
      Error,
      "expected a stored weight as b with transposeB",
    );
    // A root would have to be copied.
    assertThrows(
      () => schedule([w], { epilogues: true, folds: false, accumulates: false }),
      Error,
      "graph: copy of input w",
    );
  }
});

Deno.test("stored weights: no gradient of them or through them", () => {
  const w = g.input("w", [32, 32], "bf16");
  const x = g.input("x", [8, 32]);
  const loss = g.meanAll(g.matmul(x, w, { transposeB: true }));
  assertThrows(() => gradients(loss, [w]), Error, "expected f32, which takes a gradient");
  assertThrows(() => gradients(loss, [x]), Error, "a stored weight as b with transposeB");
  const targets = g.input("targets", [8], "i32");
  assertThrows(
    () => gradients(g.meanAll(g.crossEntropy(x, w, targets)), [x]),
    Error,
    "expected a head in f32",
  );
  // The teacher's head takes none.
  const head = g.input("head", [32, 32]);
  gradients(g.meanAll(g.klDivergence(x, head, g.input("y", [8, 32]), w)), [x, head]);
});
