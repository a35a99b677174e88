/**
 * Composite operations written out in simpler ones. It runs after differentiation, so that a
 * composite keeps its own gradient, and before fusion, so that it needs no kernel of its own.
 */

import * as g from "./build.ts";
import type { Rule } from "./rewrite.ts";
import type { Tensor } from "./tensor.ts";

/** The bytes of logits that may be held at once for one model, however small its head is. */
export const LOGITS_BLOCK_BYTES = 32 * 2 ** 20;

/**
 * However large the head, its products gain little from more tokens than this. Every block more is a
 * pass over the gradient of the whole head, which its product is added to.
 */
const LARGE_HEAD_TOKENS = 256;

/** Tokens whose logits are held together: a multiple of 16, at least 64. */
export function logitsBlock(tokens: number, vocabulary: number, hidden: number): number {
  const small = Math.floor(LOGITS_BLOCK_BYTES / (4 * vocabulary));
  const fit = Math.max(small, Math.min(hidden, LARGE_HEAD_TOKENS));
  return Math.min(tokens, Math.max(64, fit - fit % 16));
}

/** Tells from tokens, vocabulary and hidden size how many tokens' logits are held together. */
export type BlockSize = (tokens: number, vocabulary: number, hidden: number) => number;

/** x/√(mean(x²)+ε)·weight. */
function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const scale = g.reciprocal(g.sqrt(g.add(g.mean(g.mul(x, x), [-1]), epsilon)));
  return g.mul(g.mul(x, scale), weight);
}

/** Zero mean and unit variance over the last axis, then weight and bias. */
function groupNorm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: number): Tensor {
  const centred = g.sub(x, g.mean(x, [-1]));
  const variance = g.mean(g.mul(centred, centred), [-1]);
  const scale = g.reciprocal(g.sqrt(g.add(variance, epsilon)));
  return g.add(g.mul(g.mul(centred, scale), weight), bias);
}

/** (x₀c − x₁s, x₁c + x₀s) of the halves; the inverse has the other sign of s. */
function rotary(x: Tensor, cosine: Tensor, sine: Tensor, inverse: boolean): Tensor {
  const half = x.shape[3] / 2;
  const [batch, time] = cosine.shape;
  const perHead = [batch, time, 1, half];
  const c = g.reshape(cosine, perHead);
  const s = g.reshape(sine, perHead);
  const first = g.slice(x, 3, 0, half);
  const second = g.slice(x, 3, half, 2 * half);
  const [down, up] = inverse ? [g.add, g.sub] : [g.sub, g.add];
  return g.concat([
    down(g.mul(first, c), g.mul(second, s)),
    up(g.mul(second, c), g.mul(first, s)),
  ], 3);
}

/** Zeros on both sides, axis by axis. */
function pad(x: Tensor, before: readonly number[], shape: readonly number[]): Tensor {
  return shape.reduce((inner, total, axis) => {
    const zeros = (n: number) => g.constant(0, inner.shape.map((m, i) => i === axis ? n : m));
    const after = total - before[axis] - inner.shape[axis];
    const parts = [
      ...(before[axis] > 0 ? [zeros(before[axis])] : []),
      inner,
      ...(after > 0 ? [zeros(after)] : []),
    ];
    return g.concat(parts, axis);
  }, x);
}

/** Logits without their largest, the powers of e of that, and the powers' sum, by row. */
function exponentials(logits: Tensor): { shifted: Tensor; powers: Tensor; sum: Tensor } {
  const shifted = g.sub(logits, g.largest(logits, [-1]));
  const powers = g.exp(shifted);
  return { shifted, powers, sum: g.sum(powers, [-1]) };
}

interface Block {
  readonly losses: Tensor;
  /** Gradient of the block's logits, when it was asked for. */
  readonly dLogits?: Tensor;
}

/** Losses of a block from its logits [tokens, vocabulary]; `from` slices a per-token tensor. */
type BlockLoss = (logits: Tensor, from: (t: Tensor) => Tensor, dLoss?: Tensor) => Block;

/** log Σ exp − the target's logit; softmax − 1 at the target. Every power of e is taken once. */
const crossEntropyBlock = (targets: Tensor): BlockLoss => (logits, from, dLoss) => {
  const tokens = logits.shape[0];
  const hit = g.equal(g.iota(logits.shape), g.reshape(from(targets), [tokens, 1]));
  const { shifted, powers, sum } = exponentials(logits);
  const losses = g.sub(g.log(sum), g.sum(g.mul(shifted, hit), [-1]));
  if (dLoss === undefined) return { losses };
  const dLogits = g.mul(g.sub(g.mul(powers, g.reciprocal(sum)), hit), dLoss);
  return { losses, dLogits };
};

/**
 * With p = eᵗ/Σeᵗ of the teacher and q = eˢ/Σeˢ, both shifted: Σ p·(log p − log q)
 * = Σ eᵗ·(t − s)/Σeᵗ + log Σeˢ − log Σeᵗ, all of whose sums are known after one pass over shifted
 * logits.
 */
const klBlock =
  (teacherHidden: Tensor, teacherHead: Tensor): BlockLoss => (logits, from, dLoss) => {
    const teacherLogits = g.matmul(from(teacherHidden), teacherHead, { transposeB: true });
    const own = exponentials(logits);
    const theirs = exponentials(teacherLogits);
    const apart = g.sum(g.mul(theirs.powers, g.sub(theirs.shifted, own.shifted)), [-1]);
    const scale = g.reciprocal(theirs.sum);
    const losses = g.add(g.mul(apart, scale), g.sub(g.log(own.sum), g.log(theirs.sum)));
    if (dLoss === undefined) return { losses };
    const q = g.mul(own.powers, g.reciprocal(own.sum));
    return { losses, dLogits: g.mul(g.sub(q, g.mul(theirs.powers, scale)), dLoss) };
  };

/** The head and its loss by blocks of tokens, so that [tokens, vocabulary] is never held whole. */
function headLoss(
  hidden: Tensor,
  head: Tensor,
  loss: BlockLoss,
  blockSize: BlockSize,
  dLosses?: Tensor,
): readonly Tensor[] {
  const tokens = hidden.shape[0];
  const block = blockSize(tokens, head.shape[0], head.shape[1]);
  const losses: Tensor[] = [];
  const dHidden: Tensor[] = [];
  let dHead: Tensor | undefined;
  for (let begin = 0; begin < tokens; begin += block) {
    const end = Math.min(begin + block, tokens);
    const from = (t: Tensor) => g.slice(t, 0, begin, end);
    const h = from(hidden);
    const logits = g.matmul(h, head, { transposeB: true });
    const dLoss = dLosses && g.reshape(from(dLosses), [end - begin, 1]);
    const { losses: part, dLogits } = loss(logits, from, dLoss);
    losses.push(g.reshape(part, [end - begin]));
    if (dLogits === undefined) continue;
    dHidden.push(g.matmul(dLogits, head));
    const dPart = g.matmul(dLogits, h, { transposeA: true });
    dHead = dHead === undefined ? dPart : g.add(dHead, dPart);
  }
  const all = g.concat(losses, 0);
  return dHead === undefined ? [all] : [all, g.concat(dHidden, 0), dHead];
}

/** A reduction over one run of neighbouring axes at a time, innermost first. */
function reduceByRuns(x: Tensor, fn: "sum" | "max", axes: readonly number[]): Tensor {
  const fold = fn === "sum" ? g.sum : g.largest;
  let rest = [...axes];
  let y = x;
  while (rest.length > 0) {
    const run = [rest.pop()!];
    const between = (axis: number) => x.shape.slice(axis + 1, run[0]).every((n) => n === 1);
    while (rest.length > 0 && between(rest[rest.length - 1])) run.unshift(rest.pop()!);
    y = fold(y, run);
    rest = rest.filter((axis) => !run.includes(axis));
  }
  return y;
}

/** The rule that writes composites out, with logits in blocks of the given size. */
export const decomposeBy = (blockSize: BlockSize): Rule => ({ op, outputs }, inputs) => {
  switch (op.kind) {
    case "rms_norm":
      return [rmsNorm(inputs[0], inputs[1], op.epsilon)];
    case "group_norm":
      return [groupNorm(inputs[0], inputs[1], inputs[2], op.epsilon)];
    case "rotary":
      return [rotary(inputs[0], inputs[1], inputs[2], op.inverse)];
    case "pad":
      return [pad(inputs[0], op.before, outputs[0].shape)];
    case "reduce":
      return [reduceByRuns(inputs[0], op.fn, op.axes)];
    case "cross_entropy":
    case "cross_entropy_gradient":
      return headLoss(inputs[0], inputs[1], crossEntropyBlock(inputs[2]), blockSize, inputs[3]);
    case "kl_divergence":
    case "kl_divergence_gradient":
      return headLoss(inputs[0], inputs[1], klBlock(inputs[2], inputs[3]), blockSize, inputs[4]);
    default:
      return undefined;
  }
};

/** The rule that writes composites out. */
export const decompose: Rule = decomposeBy(logitsBlock);
