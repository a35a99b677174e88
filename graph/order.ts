/** The order of steps: any that respects who reads whom, chosen to hold little memory at once. */

import { type Node, type Tensor, tensorBytes } from "./tensor.ts";
import type { Step } from "./step.ts";

/** Bytes that make no difference to how much memory is held. */
const LITTLE = 65536;

/**
 * Picks among the steps that are ready the one that leaves the least memory held (what it
 * allocates minus what it is the last to read). Where the difference is little, the one that has the
 * fewest steps before it that wait for one another, so that those which do not come together; the
 * earlier one where they tie.
 */
export function orderSteps(
  steps: readonly Step[],
  writers: ReadonlyMap<Node, readonly Step[]>,
  partOf: ReadonlyMap<Node, Node>,
): Step[] {
  const home = (t: Tensor): Node => partOf.get(t.node) ?? t.node;
  const bytes = (node: Node): number =>
    node.outputs.reduce((n, o) => n + tensorBytes(o.shape, o.dtype), 0);
  const distinct = <T>(list: readonly T[]) => [...new Set(list)];

  const waitsFor = new Map<Step, number>();
  const releases = new Map<Step, Step[]>();
  /** The longest row of steps before a step that wait for one another. */
  const depth = new Map(steps.map((step) => [step, 0]));
  const readsLeft = new Map<Node, number>();
  for (const step of steps) {
    const before = distinct(step.reads.flatMap((t) => writers.get(t.node) ?? []));
    waitsFor.set(step, before.length);
    for (const writer of before) releases.set(writer, [...releases.get(writer) ?? [], step]);
    for (const node of distinct(step.reads.map(home))) {
      readsLeft.set(node, (readsLeft.get(node) ?? 0) + 1);
    }
  }
  const held = new Set<Node>();
  const growth = (step: Step): number => {
    let sum = 0;
    for (const node of distinct(step.writes.map(home))) {
      // What nobody reads is a result, which has memory of its own.
      if (!held.has(node) && readsLeft.has(node)) sum += bytes(node);
    }
    for (const node of distinct(step.reads.map(home))) {
      if (readsLeft.get(node) === 1 && held.has(node)) sum -= bytes(node);
    }
    return Math.round(sum / LITTLE);
  };

  const position = new Map(steps.map((step, i) => [step, i]));
  const ready = steps.filter((step) => waitsFor.get(step) === 0);
  const order: Step[] = [];
  while (ready.length > 0) {
    let best = 0;
    let least = growth(ready[0]);
    for (let i = 1; i < ready.length; i++) {
      const grows = growth(ready[i]);
      const earlier = depth.get(ready[i])! - depth.get(ready[best])! ||
        position.get(ready[i])! - position.get(ready[best])!;
      if (grows < least || (grows === least && earlier < 0)) {
        best = i;
        least = grows;
      }
    }
    const [step] = ready.splice(best, 1);
    order.push(step);
    for (const node of step.writes.map(home)) held.add(node);
    for (const node of distinct(step.reads.map(home))) {
      readsLeft.set(node, readsLeft.get(node)! - 1);
    }
    for (const next of releases.get(step) ?? []) {
      const left = waitsFor.get(next)! - 1;
      waitsFor.set(next, left);
      depth.set(next, Math.max(depth.get(next)!, depth.get(step)! + 1));
      if (left === 0) ready.push(next);
    }
  }
  if (order.length !== steps.length) throw new Error("schedule: steps that need each other");
  return order;
}
