/**
 * Kernels that need nothing of one another as one launch: each has groups of its own. What is small
 * costs a GPU more to start than to compute.
 */

import { type Node, tensorBytes } from "../../graph/tensor.ts";
import { i32, lessThan, sub } from "../language/language.ts";
import type { Joining, StepKernel, StepKernels } from "../program.ts";
import type { GpuKernel } from "./kernel.ts";
import type { GpuCode, GpuOperand, GpuStatement, Index, Local, Scalar } from "./language.ts";
import { localsOf, renumbered } from "./renumbering.ts";

/** Parts of a kernel: what they read comes before what they write. */
type Parts = readonly Pick<StepKernel<GpuKernel>, "kernel" | "firstWritten">[];

/**
 * The parts as one kernel. Its operands are what all read, one after another, then what all write.
 * Where operands that are read begin at multiples of 16 bytes, it is made of parts that make use of
 * it.
 */
function joinedKernel(parts: Parts): GpuKernel {
  let first = 0;
  const aligned = parts.flatMap(({ kernel, firstWritten }) => {
    const own = kernel.aligned?.operands.map((i) => i + first) ?? [];
    first += firstWritten;
    return own;
  });
  const joined = joinedParts(parts.map(({ kernel }) => kernel));
  if (aligned.length === 0) return joined;
  const otherwise = joinedParts(parts.map(({ kernel }) => kernel.aligned?.otherwise ?? kernel));
  return { ...joined, aligned: { operands: aligned, otherwise } };
}

function joinedParts(kernels: readonly GpuKernel[]): GpuKernel {
  const sum = (of: (kernel: GpuKernel) => number) => kernels.reduce((n, k) => n + of(k), 0);
  return {
    key: `joined ${JSON.stringify(kernels.map(({ key }) => key))}`,
    groups: sum(({ groups }) => groups),
    flops: sum(({ flops }) => flops),
    bytes: sum(({ bytes }) => bytes),
    code: () => joinedCode(kernels),
  };
}

function joinedCode(kernels: readonly GpuKernel[]): GpuCode {
  const codes = kernels.map((kernel) => kernel.code());
  const { threads } = codes[0];
  if (codes.some((code) => code.threads !== threads)) throw new Error("gpu: groups of two sizes");
  const all = codes.flatMap(({ operands }, part) =>
    operands.map((operand, index) => ({ part, index, operand }))
  );
  const ordered = [false, true].flatMap((written) =>
    all.filter(({ operand }) => operand.written === written)
  );
  const operands = ordered.map(({ part, operand }): GpuOperand => ({
    ...operand,
    name: `${operand.name}_${part}`,
  }));
  const shared: { type: Scalar; size: number }[] = [];
  const local = (index: number) => ({ kind: "local", type: "i32", index }) as Index & Local;
  let locals = 2;
  let begin = 0;
  const bodies = codes.map((code, part) => {
    const first = locals;
    const rooms = roomsFor(shared, code);
    const body = renumbered(code.body, {
      local: (index) => index === 0 ? first : index === 1 ? 1 : first + index - 1,
      place: ({ kind, index }) =>
        kind === "shared"
          ? rooms[index]
          : ordered.findIndex((o) => o.part === part && o.index === index),
    });
    locals += Math.max(2, localsOf(code.body)) - 1;
    const own: GpuStatement = {
      ...{ kind: "let", local: local(first), value: sub(local(0), i32(begin)) },
    };
    begin += kernels[part].groups;
    return { end: begin, body: [own, ...body] };
  });
  const last = bodies.length - 1;
  const body = bodies.slice(0, last).reduceRight<readonly GpuStatement[]>(
    (otherwise, { end, body }) => [
      { kind: "if", condition: lessThan(local(0), i32(end)), then: body, otherwise },
    ],
    bodies[last].body,
  );
  return { name: "joined", operands, shared, threads, body };
}

/** The arrays that a part shares, among those of the others, as no group runs two parts. */
function roomsFor(shared: { type: Scalar; size: number }[], code: GpuCode): number[] {
  const taken = new Set<number>();
  return code.shared.map(({ type, size }) => {
    let at = shared.findIndex((room, i) => room.type === type && !taken.has(i));
    if (at === -1) at = shared.push({ type, size: 0 }) - 1;
    taken.add(at);
    shared[at].size = Math.max(shared[at].size, size);
    return at;
  });
}

/** A stage under construction. */
interface Stage {
  readonly steps: number[];
  /** What it reads that is not the program's own memory. */
  readonly outside: Set<Node>;
  readonly open: boolean;
}

/**
 * Joins small steps of a schedule to earlier ones that they do not need. Those move ahead of others,
 * so that they must write memory of the program's own.
 * @param mostOutside bindings of what is not in the program's own memory that one launch may have
 * @param mostBytes bytes of one such binding; a larger tensor takes several
 */
export const joining = (mostOutside: number, mostBytes = Infinity): Joining<GpuKernel> => ({
  kernel: joinedKernel,
  stages: ({ steps, roots, partOf }, work) => {
    const wanted = new Set(roots.map(({ node }) => node));
    const fits = (outside: ReadonlySet<Node>) =>
      outside.values().reduce((n, node) => n + partsOf(node, mostBytes), 0) <= mostOutside;
    const stages: Stage[] = [];
    /** The stage that a node's memory is written in, the last one where there are several. */
    const written = new Map<Node, number>();
    steps.forEach(({ work: own, reads, writes }, at) => {
      const nodes = writes.flatMap(({ node }) =>
        [node, partOf.get(node)].filter((n) => n !== undefined)
      );
      const outside = new Set(
        reads.map(({ node }) => node).filter((n) => n.op.kind === "input" || wanted.has(n)),
      );
      // A sum in place stays behind all that read what it is added to.
      const stays = own.kind === "matmul" && own.accumulates === true ||
        nodes.some((node) => wanted.has(node));
      const open = !stays && isSmall(work[at]) && fits(outside);
      const earliest = Math.max(-1, ...reads.map(({ node }) => written.get(node) ?? -1)) + 1;
      const found = open
        ? stages.findIndex((stage, s) =>
          s >= earliest && stage.open && fits(stage.outside.union(outside))
        )
        : -1;
      const stage = found === -1 ? stages.push({ steps: [], outside: new Set(), open }) - 1 : found;
      stages[stage].steps.push(at);
      outside.forEach((node) => stages[stage].outside.add(node));
      nodes.forEach((node) => written.set(node, Math.max(stage, written.get(node) ?? 0)));
    });
    return stages.map(({ steps }) => steps);
  },
});

/** How many bindings of so many bytes what a node holds takes. */
const partsOf = ({ outputs }: Node, mostBytes: number): number =>
  Math.max(
    ...outputs.map(({ shape, dtype }) => Math.ceil(tensorBytes(shape, dtype) / mostBytes) || 1),
  );

/** Whether a step is one kernel that may be joined. */
const isSmall = ({ kernels: [{ kernel }, ...more] }: StepKernels<GpuKernel>): boolean =>
  more.length === 0 && kernel.joins === true;
