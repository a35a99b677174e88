/** Which stored tensors share memory: two may where one is last read before the other is written. */

import type { Schedule, Step } from "./step.ts";
import { type Node, type Tensor, tensorBytes } from "./tensor.ts";

/** Every region starts at a multiple of this many bytes: a cache line. */
const ALIGNMENT = 64;

/**
 * Tensors of so few bytes keep their memory for some steps after they are read, so that steps which
 * have nothing to do with one another can run at the same time: in decoding all are so small.
 */
const SMALL = 32768;
const KEPT_STEPS = 24;

/** Where a stored tensor lives: an input's or a root's own memory, or an offset of the arena. */
export type Place =
  | { readonly kind: "input"; readonly name: string }
  | { readonly kind: "root"; readonly index: number }
  | { readonly kind: "arena"; readonly offset: number };

/** Where everything lives. */
export interface MemoryPlan {
  readonly arenaBytes: number;
  place(tensor: Tensor): Place;
  /** Bytes of the memory that a tensor is stored in, which may be that of a concatenation. */
  bytes(tensor: Tensor): number;
  /** Where a piece of a step's scratch memory lies. */
  scratch(step: number, piece: number): Place;
}

interface Region {
  readonly bytes: number;
  readonly first: number;
  last: number;
  offset: number;
}

/** A region that is used by one step as yet. */
const regionAt = (step: number, bytes: number): Region => ({
  bytes: Math.ceil(bytes / ALIGNMENT) * ALIGNMENT,
  first: step,
  last: step,
  offset: 0,
});

/** The cache that an output of cached attention is written through to. */
function throughput(t: Tensor): Tensor | undefined {
  return t.node.op.kind === "cached_attention" && t.output > 0
    ? t.node.inputs[2 + t.output]
    : undefined;
}

/**
 * Plans memory by last use: the largest tensors first, each at the lowest offset where nothing
 * that lives at the same time is.
 * @param scratch bytes of the pieces of memory that each step needs for itself
 */
export function planMemory(
  { steps, roots, partOf }: Omit<Schedule, "steps"> & {
    readonly steps: readonly Pick<Step, "reads" | "writes">[];
  },
  scratch: readonly (readonly number[])[] = [],
): MemoryPlan {
  const rootIndex = new Map<Node, Map<number, number>>();
  roots.forEach((t, i) => {
    rootIndex.set(t.node, (rootIndex.get(t.node) ?? new Map()).set(t.output, i));
  });
  const home = (t: Tensor): Tensor => {
    const whole = partOf.get(t.node);
    return whole === undefined
      ? throughput(t) ?? t
      : { node: whole, output: 0, shape: whole.outputs[0].shape, dtype: whole.outputs[0].dtype };
  };
  const regions = new Map<Node, Map<number, Region>>();
  const touch = (tensor: Tensor, at: number) => {
    const t = home(tensor);
    if (t.node.op.kind === "input" || rootIndex.get(t.node)?.has(t.output)) return;
    const outputs = regions.get(t.node) ?? new Map<number, Region>();
    regions.set(t.node, outputs);
    const region = outputs.get(t.output);
    if (region !== undefined) region.last = at;
    else {
      outputs.set(t.output, regionAt(at, tensorBytes(t.shape, t.dtype)));
    }
  };
  steps.forEach((step, at) => {
    for (const t of step.reads) touch(t, at);
    for (const t of step.writes) touch(t, at);
  });

  for (const outputs of regions.values()) {
    for (const region of outputs.values()) if (region.bytes <= SMALL) region.last += KEPT_STEPS;
  }
  const own = scratch.map((pieces, at) => pieces.map((bytes) => regionAt(at, bytes)));
  const all = [...regions.values()].flatMap((outputs) => [...outputs.values()]).concat(own.flat());
  const placed: Region[] = [];
  let arenaBytes = 0;
  for (const region of all.sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    const neighbours = placed
      .filter((other) => other.first <= region.last && region.first <= other.last)
      .sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const other of neighbours) {
      if (other.offset - offset >= region.bytes) break;
      offset = Math.max(offset, other.offset + other.bytes);
    }
    region.offset = offset;
    placed.push(region);
    arenaBytes = Math.max(arenaBytes, offset + region.bytes);
  }

  return {
    arenaBytes,
    bytes: (tensor) => {
      const { shape, dtype } = home(tensor);
      return tensorBytes(shape, dtype);
    },
    place: (tensor) => {
      const t = home(tensor);
      if (t.node.op.kind === "input") return { kind: "input", name: t.node.op.name };
      const index = rootIndex.get(t.node)?.get(t.output);
      if (index !== undefined) return { kind: "root", index };
      return { kind: "arena", offset: regions.get(t.node)!.get(t.output)!.offset };
    },
    scratch: (step, piece) => ({ kind: "arena", offset: own[step][piece].offset }),
  };
}
