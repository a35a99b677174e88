/**
 * The RWKV-6 recurrence on a GPU, token by token: S ← diag(w)·S + kᵀv, y = r·S per head, S [key,
 * value] in the registers of a group.
 */

import { fma, mul } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { forwardRecurrence, type GpuForwardShape } from "./forward_recurrence.ts";
import type { GpuKernel } from "../kernel.ts";
import type { Float } from "../language.ts";
import { eachSum } from "../matmul/products.ts";
import { blockSums, foldState, ofColumns, ofRows, type State, tokenOf } from "./state.ts";

/** What a kernel of the RWKV-6 recurrence is made for. */
export type GpuWkv6Shape = GpuForwardShape<"r" | "w" | "k" | "v">;

/** S ← diag(w)·S + kᵀv, with w and k by rows and v by columns. */
function stepWkv6(
  k: GpuBlock,
  { sums }: State,
  w: readonly Float[],
  key: readonly Float[],
  v: readonly Float[],
): void {
  eachSum(sums, (sum, r, c) => k.set(sum, fma(key[r], v[c], mul(w[r], sum))));
}

/** Operands r, w, k, v, state → y, last state and, where they are kept, the chunk states. */
export function wkv6(shape: GpuWkv6Shape): GpuKernel {
  return forwardRecurrence("wkv6", shape, 5, (k, { rows: all, state, room, giveY }) => (token) => {
    const rows = [all.w, all.k, all.r].map((of) => ofRows(k, state, tokenOf(k, of, token)));
    stepWkv6(k, state, rows[0], rows[1], ofColumns(k, state, tokenOf(k, all.v, token)));
    const parts = blockSums(k, state, "columns", (sum, i) => [rows[2][i], sum]);
    foldState(k, room, state, "columns", [{ parts, give: giveY(token) }]);
  });
}
