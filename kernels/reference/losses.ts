/** The output head fused with its loss, token by token. */

import { addScaled, checkIndex, dot, type Value } from "./value.ts";

/** log softmax of a token's logits hidden·headᵀ. */
function logProbabilities(hidden: Value, head: Value, token: number): Float64Array {
  const [vocabulary, width] = head.shape;
  const logits = new Float64Array(vocabulary).map((_, id) =>
    dot(hidden.data, token * width, head.data, id * width, width)
  );
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
  return logits.map((logit) => logit - top - Math.log(total));
}

function targetOf(targets: Value, token: number, vocabulary: number): number {
  checkIndex("cross_entropy: target", targets.data[token], vocabulary);
  return targets.data[token];
}

/** −log q(target) of every token. */
export function crossEntropy(hidden: Value, head: Value, targets: Value): Float64Array {
  return targets.data.map((_, token) =>
    -logProbabilities(hidden, head, token)[targetOf(targets, token, head.shape[0])]
  );
}

/** KL(p ‖ q) = Σ p·(log p − log q) of every token, p the teacher's probabilities. */
export function klDivergence(
  hidden: Value,
  head: Value,
  teacherHidden: Value,
  teacherHead: Value,
): Float64Array {
  return new Float64Array(hidden.shape[0]).map((_, token) => {
    const logQ = logProbabilities(hidden, head, token);
    const logP = logProbabilities(teacherHidden, teacherHead, token);
    return logP.reduce((sum, lp, id) => sum + Math.exp(lp) * (lp - logQ[id]), 0);
  });
}

/** (dhidden, dhead) from every token's dlogits = (q − expected)·dloss. */
function headGradient(
  hidden: Value,
  head: Value,
  expected: (token: number, id: number) => number,
  dLosses: Value,
): Float64Array[] {
  const [tokens, width] = hidden.shape;
  const dHidden = new Float64Array(hidden.data.length);
  const dHead = new Float64Array(head.data.length);
  for (let token = 0; token < tokens; token++) {
    logProbabilities(hidden, head, token).forEach((logQ, id) => {
      const dLogit = (Math.exp(logQ) - expected(token, id)) * dLosses.data[token];
      addScaled(dHidden, token * width, dLogit, head.data, id * width, width);
      addScaled(dHead, id * width, dLogit, hidden.data, token * width, width);
    });
  }
  return [dHidden, dHead];
}

/** → (losses, dhidden, dhead). */
export function crossEntropyGradient(
  hidden: Value,
  head: Value,
  targets: Value,
  dLosses: Value,
): Float64Array[] {
  const hit = (token: number, id: number) => targets.data[token] === id ? 1 : 0;
  return [crossEntropy(hidden, head, targets), ...headGradient(hidden, head, hit, dLosses)];
}

/** → (losses, dhidden, dhead); the teacher's side is fixed. */
export function klDivergenceGradient(
  hidden: Value,
  head: Value,
  teacherHidden: Value,
  teacherHead: Value,
  dLosses: Value,
): Float64Array[] {
  const teacher = Array.from(
    { length: hidden.shape[0] },
    (_, token) => logProbabilities(teacherHidden, teacherHead, token).map(Math.exp),
  );
  const losses = klDivergence(hidden, head, teacherHidden, teacherHead);
  return [losses, ...headGradient(hidden, head, (token, id) => teacher[token][id], dLosses)];
}
