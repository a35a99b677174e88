/**
 * Gradient of causal softmax attention, from the log-sum-exp that the forward pass kept.
 *
 * With p = exp(score − log-sum-exp), D = do·o and dp = do·v: dscore = p·(dp − D)·scale,
 * dv = Σ p·do, dk = Σ dscore·q, dq = Σ dscore·k (Dao et al., FlashAttention). A work item is one
 * key/value head with all its query heads, so that every sum has one order. Blocks of 48 queries
 * meet blocks of 48 keys; their p and dscore lie in scratch memory as [key, query].
 */

import { type AttentionShape, checkAttention, seenPairs } from "./attention.ts";
import { BLOCK, blockScratch, clearRows, keyBlock, packBlock } from "./gradient_block.ts";
import { downTo } from "./tiles.ts";
import { kernel } from "../language/block.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "../kernel.ts";
import { add, div, i32, max, min, mul, rem, sub } from "../language/language.ts";
import { scratchPointers } from "../scratch.ts";
import type { KernelCode, Lanes, ValueType } from "../language/syntax.ts";
import { at, F32, headOperand, type Index, lanesFor, type Rows } from "../language/vectors.ts";

/** The most lanes of which two vectors divide a block. */
const MOST_LANES = 8;

/**
 * Operands q, k, v, output, log-sum-exp, doutput → dq, dk, dv, all contiguous but q, k, v, and
 * doutput where `dOutput` says how it lies.
 */
export function attentionGradient(shape: AttentionShape & { dOutput?: OperandLayout }): Kernel {
  const { batch, time, heads, kvHeads, width } = shape;
  checkAttention("attention_gradient", shape);
  const contiguous = contiguousLayout([batch, time, heads, width]);
  const dOutput = shape.dOutput ?? contiguous;
  const rows = batch * time * width;
  return {
    key: `attention_gradient ${JSON.stringify({ ...shape, dOutput })}`,
    code: (most) =>
      attentionGradientCode({ ...shape, dOutput }, lanesFor(lanesFor(most, MOST_LANES), width)),
    items: batch * kvHeads,
    scratchBytes: blockScratch(width).bytes,
    flops: 10 * batch * heads * seenPairs(time, shape.window) * width,
    bytes: F32 * (4 * rows * (heads + kvHeads) + batch * heads * time),
  };
}

function attentionGradientCode(
  shape: AttentionShape & { dOutput: OperandLayout },
  lanes: Lanes,
): KernelCode {
  const { batch, time, heads, kvHeads, width, scale, window } = shape;
  const group = heads / kvHeads;
  const parameters = {
    ...{ q: "ptr", k: "ptr", v: "ptr", output: "ptr", logSumExp: "ptr", dOutput: "ptr" },
    ...{ dq: "ptr", dk: "ptr", dv: "ptr", scratch: "ptr", begin: "i32", end: "i32" },
  } as const satisfies Record<string, ValueType>;
  return kernel("attention_gradient", parameters, (k, args) => {
    const contiguous = contiguousLayout([batch, time, heads, width]);
    const kvContiguous = contiguousLayout([batch, time, kvHeads, width]);
    const layouts = {
      ...{ q: shape.q, k: shape.k, v: shape.v, output: contiguous, dOutput: shape.dOutput },
      ...{ dq: contiguous, dk: kvContiguous, dv: kvContiguous },
    };
    const names = ["q", "k", "v", "output", "dOutput", "dq", "dk", "dv"] as const;
    const operands = Object.fromEntries(
      names.map((name) => [
        name,
        headOperand(`attention_gradient ${name}`, args[name], layouts[name]),
      ]),
    ) as Record<typeof names[number], ReturnType<typeof headOperand>>;
    const scratch = scratchPointers(k, args.scratch, blockScratch(width));
    k.for(args.begin, args.end, 1, (item) => {
      const [b, kv] = [k.let(div(item, i32(kvHeads))), k.let(rem(item, i32(kvHeads)))];
      const rowsOf = (name: typeof names[number], h: Index): Rows => ({
        first: k.let(operands[name].row(b, h)),
        stride: operands[name].timeStride,
      });
      const [key, v] = [rowsOf("k", kv), rowsOf("v", kv)];
      const [dk, dv] = [rowsOf("dk", kv), rowsOf("dv", kv)];
      for (const rows of [dk, dv]) clearRows(k, rows, width, i32(0), i32(time));
      k.for(0, group, 1, (member) => {
        const h = k.let(add(mul(kv, i32(group)), member));
        const head = k.let(add(mul(b, i32(heads)), h));
        const [q, dOutput, dq] = [rowsOf("q", h), rowsOf("dOutput", h), rowsOf("dq", h)];
        const output = rowsOf("output", h);
        const norms = k.let(at(args.logSumExp, head, time * F32));
        k.for(0, time, BLOCK, (first) => {
          const count = k.let(min(sub(i32(time), first), i32(BLOCK)));
          const block = {
            ...{ width, time, scale, window, first, count, scratch },
            ...{ q, dOutput, k: key, v, dq, dk, dv },
          };
          packBlock(k, block, output, norms);
          clearRows(k, dq, width, first, add(first, count));
          // The block with the first key that the first query sees.
          const begin = window === undefined
            ? i32(0)
            : k.let(downTo(BLOCK, max(add(first, i32(1 - window)), i32(0))));
          k.for(begin, add(first, count), BLOCK, (firstKey) => {
            keyBlock(k, block, firstKey);
          });
        });
      });
    });
  }, lanes);
}
