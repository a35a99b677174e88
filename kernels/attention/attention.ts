/** Causal softmax attention with grouped key/value heads (flash.ts says how). */

import { flash, FLASH_QUERIES, flashLanes, flashScratch } from "./flash.ts";
import { contiguousLayout, type Kernel, type OperandLayout } from "../kernel.ts";
import { kernel } from "../language/block.ts";
import { div, i32, lessThan, mul, rem, select, sub } from "../language/language.ts";
import type { KernelCode, Lanes, ValueType } from "../language/syntax.ts";
import { at, F32, headOperand } from "../language/vectors.ts";

/** What an attention kernel is made for. The width is a multiple of 4. */
export interface AttentionShape {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
  readonly scale: number;
  /** Latest keys that a query sees, its own included; every earlier one where it is missing. */
  readonly window?: number;
  /** Where the inputs [batch, time, heads or kv heads, width] lie. */
  readonly q: OperandLayout;
  readonly k: OperandLayout;
  readonly v: OperandLayout;
}

/** Fails for shapes that the kernels cannot take. */
export function checkAttention(op: string, shape: AttentionShape): void {
  const { width, heads, kvHeads, window = 1 } = shape;
  if (!(window >= 1)) throw new Error(`${op}: expected a window of 1 key or more, found ${window}`);
  if (width % 4 !== 0 || heads % kvHeads !== 0) {
    throw new Error(
      `${op}: expected a width of a multiple of 4 and heads of a multiple of key/value heads, ` +
        `found ${width}, ${heads} and ${kvHeads}`,
    );
  }
}

/** Pairs of a query and a key that it sees. */
export function seenPairs(time: number, window = time): number {
  const growing = Math.min(time, window);
  return growing * (growing + 1) / 2 + (time - growing) * growing;
}

/**
 * Operands q, k, v → output [batch, time, heads, width] and log-sum-exp [batch, heads, time].
 * `output` tells how the output lies, contiguous where it is missing.
 */
export function attention(shape: AttentionShape & { output?: OperandLayout }): Kernel {
  const { batch, time, heads, kvHeads, width } = shape;
  checkAttention("attention", shape);
  const output = shape.output ?? contiguousLayout([batch, time, heads, width]);
  const rows = batch * time * width;
  return {
    key: `attention ${JSON.stringify({ ...shape, output })}`,
    code: (most) => attentionCode({ ...shape, output }, flashLanes(most, time)),
    items: batch * heads * Math.ceil(time / FLASH_QUERIES),
    scratchBytes: flashScratch(width),
    flops: 4 * batch * heads * seenPairs(time, shape.window) * width,
    bytes: F32 * (2 * rows * (heads + kvHeads) + batch * heads * time),
  };
}

function attentionCode(
  shape: AttentionShape & { output: OperandLayout },
  lanes: Lanes,
): KernelCode {
  const { time, heads, kvHeads, width, scale, window } = shape;
  const blocks = Math.ceil(time / FLASH_QUERIES);
  const parameters = {
    ...{ q: "ptr", k: "ptr", v: "ptr", output: "ptr", logSumExp: "ptr" },
    ...{ scratch: "ptr", begin: "i32", end: "i32" },
  } as const satisfies Record<string, ValueType>;
  return kernel("attention", parameters, (k, args) => {
    const operand = (name: "q" | "k" | "v" | "output") =>
      headOperand(`attention ${name}`, args[name], shape[name]);
    const [q, key, v, output] = [operand("q"), operand("k"), operand("v"), operand("output")];
    k.for(args.begin, args.end, 1, (item) => {
      const head = k.let(div(item, i32(blocks)));
      const [b, h] = [k.let(div(head, i32(heads))), k.let(rem(head, i32(heads)))];
      const kv = k.let(div(h, i32(heads / kvHeads)));
      // Short and long blocks in turn, so that ranges of items cost about the same.
      const index = k.let(rem(item, i32(blocks)));
      const half = div(index, i32(2));
      const even = lessThan(rem(index, i32(2)), i32(1));
      const order = select(even, half, sub(i32(blocks - 1), half));
      flash(k, {
        ...{ width, scale, window, time, capacity: time, scratch: args.scratch },
        start: i32(0),
        firstQuery: k.let(mul(order, i32(FLASH_QUERIES))),
        q: { first: k.let(q.row(b, h)), stride: q.timeStride },
        k: { first: k.let(key.row(b, kv)), stride: key.timeStride },
        v: { first: k.let(v.row(b, kv)), stride: v.timeStride },
        output: { first: k.let(output.row(b, h)), stride: output.timeStride },
        logSumExp: k.let(at(args.logSumExp, head, time * F32)),
      });
    });
  }, lanes);
}
