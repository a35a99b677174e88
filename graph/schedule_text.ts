/** A schedule as text, a line a step: what it computes, what it reads, what it writes. */

import type { Schedule, Step } from "./step.ts";
import type { Node, Op, Shape, Tensor } from "./tensor.ts";

/** An operation's name: `add`, `sum`, `wkv7`. */
function opName(op: Op): string {
  return op.kind === "unary" || op.kind === "binary" || op.kind === "reduce" ? op.fn : op.kind;
}

/** Names in order, each once, with how often it comes. */
function counted(names: readonly string[]): string {
  const counts = new Map<string, number>();
  names.forEach((name) => counts.set(name, (counts.get(name) ?? 0) + 1));
  return [...counts].map(([name, n]) => n === 1 ? name : `${n}×${name}`).join(" ");
}

/** What a step computes: its kind, and the operations that are fused in it. */
function workText({ work }: Step): string {
  const fused = (nodes: readonly { readonly op: Op }[]) =>
    `(${counted(nodes.map(({ op }) => opName(op)))})`;
  switch (work.kind) {
    case "loop":
      return `loop ${fused(work.body.loop.values)}`;
    case "columns":
      return `columns ${work.reduction.fn} of ${fused(work.reduction.loop.values)}`;
    case "matmul": {
      const { transposeA, transposeB, epilogue } = work;
      const product = `matmul a${transposeA ? "ᵀ" : ""}·b${transposeB ? "ᵀ" : ""}`;
      return epilogue === undefined ? product : `${product} then ${fused(epilogue.loop.values)}`;
    }
    case "structured":
      return opName(work.node.op);
    default:
      return work satisfies never;
  }
}

const shapeText = (shape: Shape) => `[${shape.join(", ")}]`;

/**
 * The schedule, a line a step. Inputs have their names; `%12` is what step 12 writes, `%12.1` its
 * second tensor.
 */
export function scheduleText({ steps, partOf }: Schedule): string {
  const names = new Map<Node, Map<number, string>>();
  const nameOf = (t: Tensor): string => {
    if (t.node.op.kind === "input") return t.node.op.name;
    const own = names.get(t.node)?.get(t.output);
    if (own !== undefined) return own;
    // A concatenation is where the steps of its parts have written.
    const parts = [...partOf].filter(([, whole]) => whole === t.node).map(([part]) => part);
    return parts.length === 0
      ? opName(t.node.op)
      : parts.map((node) => names.get(node)?.get(0) ?? opName(node.op)).join("‖");
  };
  const list = (tensors: readonly Tensor[]) =>
    tensors.map((t) => `${nameOf(t)} ${shapeText(t.shape)}`).join(", ") || "nothing";
  const lines = steps.map((step, i) => {
    step.writes.forEach((t, output) => {
      const own = names.get(t.node) ?? new Map<number, string>();
      names.set(t.node, own.set(t.output, output === 0 ? `%${i}` : `%${i}.${output}`));
    });
    return `${String(i).padStart(5)}  ${workText(step)}  reads ${list(step.reads)}  writes ${
      list(step.writes)
    }\n`;
  });
  return lines.join("");
}
