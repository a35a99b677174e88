import * as g from "../../../graph/build.ts";
import { outputsOf } from "../../../graph/rewrite.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { evaluate } from "../../../kernels/reference.ts";
import { assertClose } from "../../support/compare.ts";
import { caseGraph, caseValues, opCase, real } from "../../support/op_case.ts";
import { EXACT } from "./values.ts";

Deno.test("wkv6 is what its definition says, token by token in matrices", () => {
  const [batch, time, heads, width] = [2, 19, 3, 4];
  const row = real([batch, time, heads, width], -0.7, 0.7);
  const state = real([batch, heads, width, width]);
  const both = opCase(
    "both",
    { r: row, w: real(row.shape, 0, 1), k: row, v: row, state },
    ({ state, ...rest }) => {
      let s = state;
      const ys: Tensor[] = [];
      const kept: Tensor[] = [];
      for (let t = 0; t < time; t++) {
        // Rows [batch, heads, 1, width]; the decay as a column.
        const at = (x: Tensor) => g.permute(g.slice(x, 1, t, t + 1), [0, 2, 1, 3]);
        const [r, w, k, v] = [rest.r, rest.w, rest.k, rest.v].map(at);
        if (t % 16 === 0) kept.push(g.reshape(s, [batch, heads, 1, width, width]));
        const decayed = g.mul(s, g.permute(w, [0, 1, 3, 2]));
        s = g.add(decayed, g.matmul(k, v, { transposeA: true }));
        ys.push(g.matmul(r, s));
      }
      const y = g.permute(g.concat(ys, 2), [0, 2, 1, 3]);
      return [...outputsOf(g.wkv6(rest, state).y.node), y, s, g.concat(kept, 2)];
    },
  );
  const results = evaluate(caseGraph(both).outputs, caseValues(both));
  ["y", "state", "chunk states"].forEach((name, i) =>
    assertClose(name, results[i], results[i + 3], EXACT)
  );
});

Deno.test("wkv7 is what its definition says, token by token in matrices", () => {
  const [batch, time, heads, width] = [2, 19, 3, 4];
  const row = real([batch, time, heads, width], -0.7, 0.7);
  const both = opCase(
    "both",
    {
      r: row,
      w: real(row.shape, 0, 1),
      k: row,
      v: row,
      kappa: row,
      a: real(row.shape, 0, 1),
      state: real([batch, heads, width, width]),
    },
    ({ state, ...rest }) => {
      let s = state;
      const ys: Tensor[] = [];
      const kept: Tensor[] = [];
      for (let t = 0; t < time; t++) {
        // Rows [batch, heads, 1, width].
        const at = (x: Tensor) => g.permute(g.slice(x, 1, t, t + 1), [0, 2, 1, 3]);
        const [r, w, k, v, kappa, a] = [rest.r, rest.w, rest.k, rest.v, rest.kappa, rest.a].map(at);
        if (t % 16 === 0) kept.push(g.reshape(s, [batch, heads, 1, width, width]));
        const removed = g.matmul(s, kappa, { transposeB: true });
        const decayed = g.sub(g.mul(s, w), g.matmul(removed, g.mul(a, kappa)));
        s = g.add(decayed, g.matmul(v, k, { transposeA: true }));
        ys.push(g.matmul(r, s, { transposeB: true }));
      }
      const y = g.permute(g.concat(ys, 2), [0, 2, 1, 3]);
      return [...outputsOf(g.wkv7(rest, state).y.node), y, s, g.concat(kept, 2)];
    },
  );
  const results = evaluate(caseGraph(both).outputs, caseValues(both));
  ["y", "state", "chunk states"].forEach((name, i) =>
    assertClose(name, results[i], results[i + 3], EXACT)
  );
});
