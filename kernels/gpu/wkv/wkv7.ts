/**
 * The RWKV-7 recurrence on a GPU, token by token: u = S·κᵀ, S ← S·diag(w) − u(a⊙κ) + vᵀk, y = S·r per
 * head, S [value, key] in the registers of a group.
 */

import { fma, mul, neg } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { forwardRecurrence, type GpuForwardShape } from "./forward_recurrence.ts";
import type { GpuKernel } from "../kernel.ts";
import type { Float, Index } from "../language.ts";
import { eachSum } from "../matmul/products.ts";
import { blockSums, foldState, ofColumns, ofRows, type State, tokenOf } from "./state.ts";

/** What a kernel of the RWKV-7 recurrence is made for. */
export type GpuWkv7Shape = GpuForwardShape<"r" | "w" | "k" | "v" | "kappa" | "a">;

/** One token's part in the state: by columns w, k and a⊙κ, by rows v and u. */
interface Wkv7Token {
  readonly w: readonly Float[];
  readonly key: readonly Float[];
  readonly given: readonly Float[];
  readonly v: readonly Float[];
  readonly u: readonly Float[];
}

/** S ← S·diag(w) − u(a⊙κ) + vᵀk. */
function stepWkv7(k: GpuBlock, { sums }: State, token: Wkv7Token): void {
  const { w, key, given, v, u } = token;
  eachSum(sums, (sum, r, c) => {
    const kept = mul(sum, w[c]);
    k.set(sum, fma(v[r], key[c], fma(neg(u[r]), given[c], kept)));
  });
}

/** Operands r, w, k, v, kappa, a, state → y, last state and, where they are kept, the chunk states. */
export function wkv7(shape: GpuWkv7Shape): GpuKernel {
  return forwardRecurrence("wkv7", shape, 9, (k, { rows: all, state, room, giveY }) => {
    const u = k.shared("f32", shape.width);
    const keep = (row: Index, sum: Float) => k.write(u, row, sum);
    return (token) => {
      const [ws, keys, kappas, as, rs] = [all.w, all.k, all.kappa, all.a, all.r].map((of) =>
        ofColumns(k, state, tokenOf(k, of, token))
      );
      const asked = blockSums(k, state, "rows", (sum, _, c) => [kappas[c], sum]);
      foldState(k, room, state, "rows", [{ parts: asked, give: keep }]);
      stepWkv7(k, state, {
        ...{ w: ws, key: keys, given: as.map((own, c) => k.let(mul(own, kappas[c]))) },
        v: ofRows(k, state, tokenOf(k, all.v, token)),
        u: ofRows(k, state, (row) => k.read(u, row)),
      });
      const parts = blockSums(k, state, "rows", (sum, _, c) => [rs[c], sum]);
      foldState(k, room, state, "rows", [{ parts, give: giveY(token) }]);
    };
  });
}
