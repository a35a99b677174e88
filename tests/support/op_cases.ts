/**
 * Cases for every operation, with sizes that no vector width, tile or chunk divides. The reference,
 * the gradients, the rewriting of graphs and every device are tested by this one list.
 */

import { attentionCases } from "./op_cases/attention.ts";
import { compositionCases } from "./op_cases/composition.ts";
import { layoutCases } from "./op_cases/layout.ts";
import { lossCases } from "./op_cases/losses.ts";
import { matmulCases } from "./op_cases/matmul.ts";
import { normCases } from "./op_cases/norms.ts";
import { pointwiseCases } from "./op_cases/pointwise.ts";
import { reductionCases } from "./op_cases/reductions.ts";
import { wkv6Cases } from "./op_cases/wkv6.ts";
import { wkv7Cases } from "./op_cases/wkv7.ts";
import { type OpCase, withGradients } from "./op_case.ts";

/** One graph for every operation and kind of shape. */
export const opCases: readonly OpCase[] = [
  ...pointwiseCases,
  ...reductionCases,
  ...layoutCases,
  ...matmulCases,
  ...normCases,
  ...attentionCases,
  ...wkv6Cases,
  ...wkv7Cases,
  ...lossCases,
  ...compositionCases,
];

/** The outputs and gradients of every case that has gradients. */
export const gradientCases: readonly OpCase[] = opCases
  .filter(({ differentiable }) => differentiable.length > 0)
  .map(withGradients);
