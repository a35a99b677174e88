import { assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import { schedule } from "../../graph/schedule.ts";
import { scheduleText } from "../../graph/schedule_text.ts";

Deno.test("schedule as text: what a step computes, reads and writes", () => {
  const [x, w] = [g.input("x", [8, 16]), g.input("w", [4, 16])];
  const y = g.matmul(x, w, { transposeB: true });
  const sums = g.sum(g.mul(y, y), [0]);
  assertEquals(
    scheduleText(
      schedule([g.add(g.mul(y, 2), y), sums], {
        epilogues: false,
        folds: false,
        accumulates: false,
      }),
    ),
    "    0  matmul a·bᵀ  reads x [8, 16], w [4, 16]  writes %0 [8, 4]\n" +
      "    1  loop (mul add)  reads %0 [8, 4]  writes %1 [8, 4]\n" +
      "    2  columns sum of (mul copy)  reads %0 [8, 4]  writes %2 [1, 4]\n",
  );
  const fused = scheduleText(
    schedule([g.exp(y)], { epilogues: true, folds: false, accumulates: false }),
  );
  assertEquals(
    fused,
    "    0  matmul a·bᵀ then (exp)  reads x [8, 16], w [4, 16]  writes %0 [8, 4]\n",
  );
});
