/** The operations that training is made of, at the sizes of a shape. */

import * as g from "../graph/build.ts";
import { vectorJacobian } from "../graph/gradient.ts";
import { alignmentLoss } from "../train/losses.ts";
import {
  differentiated,
  type Input,
  type Operation,
  operation,
  optimizerOperation,
} from "./operation.ts";
import type { BenchShape } from "./shapes.ts";

/** Rank of the products with few columns. */
const RANK = 64;
/** Tokens of a text whose head is computed at once, at most. */
const HEAD_TOKENS = 2048;

/** The operations of a training step of a shape. */
export function operationsOf({ config, batch, context }: BenchShape): Operation[] {
  const { hiddenSize, intermediateSize, attentionHeads, keyValueHeads, headDim, vocabSize } =
    config;
  const tokens = batch * context;
  const signed = (...shape: number[]): Input => ({ shape, from: -1, to: 1 });
  const positive = (...shape: number[]): Input => ({ shape, from: 0.3, to: 1 });
  const product = (name: string, m: number, n: number, k: number, a: boolean, b: boolean) =>
    operation(
      `product, ${name}`,
      `${m} × ${n} × ${k}`,
      { a: signed(...(a ? [k, m] : [m, k])), b: signed(...(b ? [n, k] : [k, n])) },
      ({ a: left, b: right }) => [g.matmul(left, right, { transposeA: a, transposeB: b })],
    );
  const list = (...sizes: number[]) => `[${sizes.join(", ")}]`;
  const heads = [batch, context, attentionHeads, headDim];
  const keys = [batch, context, keyValueHeads, headDim];
  // Keys of unit length, as in the model: the recurrence is stable.
  const unit = (): Input => {
    const width = Math.sqrt(3 / headDim);
    return { shape: heads, from: -width, to: width };
  };
  const state = signed(batch, attentionHeads, headDim, headDim);
  const rwkv6 = { r: signed(...heads), w: positive(...heads), k: unit(), v: signed(...heads) };
  const rwkv7 = { ...rwkv6, kappa: unit(), a: { shape: heads, from: 0, to: 1 } };
  const wide = list(tokens, intermediateSize);
  const row = list(tokens, hiddenSize);
  const headTokens = Math.min(tokens, HEAD_TOKENS);
  const head = list(headTokens, hiddenSize, vocabSize);
  // Rows near the size that hidden states have, so that logits stay moderate.
  const headWeight = { shape: [vocabSize, hiddenSize], from: -0.1, to: 0.1 };
  const stream = signed(headTokens, hiddenSize);
  const ids = { shape: [batch, context], below: vocabSize };
  const rows = 4 * tokens * hiddenSize;
  const table = 4 * vocabSize * hiddenSize;
  return [
    product("projection", tokens, hiddenSize, hiddenSize, false, true),
    product("MLP up", tokens, intermediateSize, hiddenSize, false, true),
    product("MLP down", tokens, hiddenSize, intermediateSize, false, true),
    product("gradient of an input", tokens, hiddenSize, intermediateSize, false, false),
    product("gradient of a weight", intermediateSize, hiddenSize, tokens, true, false),
    product("LoRA down", tokens, RANK, hiddenSize, false, true),
    product("LoRA up", tokens, hiddenSize, RANK, false, true),
    product("gradient of LoRA", RANK, hiddenSize, tokens, true, false),
    product("head", headTokens, vocabSize, hiddenSize, false, true),
    // Work on results that is done inside the product, where a device does that.
    operation(
      "LoRA down, tanh",
      `${tokens} × ${RANK} × ${hiddenSize}`,
      { x: signed(tokens, hiddenSize), down: signed(hiddenSize, RANK) },
      ({ x, down }) => [g.tanh(g.matmul(x, down))],
    ),
    operation(
      "LoRA up, bias, sigmoid",
      `${tokens} × ${hiddenSize} × ${RANK}`,
      { x: signed(tokens, RANK), up: signed(RANK, hiddenSize), base: signed(hiddenSize) },
      ({ x, up, base }) => [g.sigmoid(g.add(base, g.matmul(x, up)))],
    ),
    ...differentiated(
      "attention",
      `${list(...heads)}, ${keyValueHeads} k/v`,
      { q: signed(...heads), k: signed(...keys), v: signed(...keys) },
      ({ q, k, v }) => g.attention(q, k, v, headDim ** -0.5),
    ),
    ...differentiated(
      "wkv6",
      list(...heads),
      { ...rwkv6, state },
      ({ state, ...own }) => g.wkv6(own, state).y,
    ),
    ...differentiated(
      "wkv7",
      list(...heads),
      { ...rwkv7, state },
      ({ state, ...own }) => g.wkv7(own, state).y,
    ),
    ...differentiated(
      "RMSNorm",
      row,
      { x: signed(tokens, hiddenSize), weight: positive(hiddenSize) },
      ({ x, weight }) => g.rmsNorm(x, weight, 1e-6),
    ),
    ...differentiated(
      "GroupNorm",
      list(tokens, attentionHeads, headDim),
      {
        x: signed(tokens, attentionHeads, headDim),
        weight: positive(attentionHeads, headDim),
        bias: signed(attentionHeads, headDim),
      },
      ({ x, weight, bias }) => g.groupNorm(x, weight, bias, 1e-5),
    ),
    ...differentiated(
      "gated MLP, pointwise",
      wide,
      { gate: signed(tokens, intermediateSize), up: signed(tokens, intermediateSize) },
      ({ gate, up }) => g.mul(g.silu(gate), up),
    ),
    operation(
      "column sums",
      row,
      { x: signed(tokens, hiddenSize) },
      ({ x }) => [g.sum(x, [0])],
    ),
    ...differentiated(
      "embedding",
      list(vocabSize, hiddenSize),
      { table: signed(vocabSize, hiddenSize), ids },
      ({ table, ids }) => g.embedding(table, ids),
      // Only the rows of the ids are read; the gradient is the whole table.
      { forward: 2 * rows, gradient: 3 * rows + table },
    ),
    ...differentiated(
      "stage-1 loss",
      row,
      { student: signed(tokens, hiddenSize), teacher: signed(tokens, hiddenSize) },
      ({ student, teacher }) => alignmentLoss(student, teacher),
    ),
    operation(
      "head and KL, with gradients",
      head,
      {
        hidden: stream,
        head: headWeight,
        teacherHidden: stream,
        teacherHead: headWeight,
        cotangent: signed(headTokens),
      },
      ({ hidden, head, teacherHidden, teacherHead, cotangent }) => {
        const of = g.klDivergence(hidden, head, teacherHidden, teacherHead);
        return [of, ...vectorJacobian([{ of, gradient: cotangent }], [hidden, head])];
      },
    ),
    operation(
      "head and cross-entropy, with gradients",
      head,
      {
        hidden: stream,
        head: headWeight,
        targets: { shape: [headTokens], below: vocabSize },
        cotangent: signed(headTokens),
      },
      ({ hidden, head, targets, cotangent }) => {
        const of = g.crossEntropy(hidden, head, targets);
        return [of, ...vectorJacobian([{ of, gradient: cotangent }], [hidden, head])];
      },
    ),
    optimizerOperation(vocabSize * hiddenSize),
  ];
}
