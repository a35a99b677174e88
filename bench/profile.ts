/** Where the time of a step goes, by kind of kernel. */

import type { ProfileRow } from "../devices/device.ts";
import type { WorkProfile } from "../devices/profiled.ts";

/** Kinds of kernel, by the first word of a launch's label, up to a part of its work. */
const KINDS: Readonly<Record<string, string>> = {
  matmul: "products",
  "matmul+": "products",
  "matmul+=": "products",
  matvec: "products",
  "matvec+": "products",
  wkv6: "wkv",
  wkv6_gradient: "wkv",
  wkv7: "wkv",
  wkv7_gradient: "wkv",
  attention: "attention",
  attention_gradient: "attention",
  cached_attention: "attention",
  loop: "loops",
  columns: "column sums",
  embedding: "embedding",
  embedding_gradient: "embedding",
};

/** What the part of a step is called that changes the weights: all its kernels are one kind. */
const OPTIMIZER = "optimizer";

/** The kernels of one kind, the longest first, and their sum. */
export interface KindProfile {
  readonly kind: string;
  readonly total: ProfileRow;
  readonly rows: readonly ProfileRow[];
}

function sum(label: string, rows: readonly ProfileRow[]): ProfileRow {
  const total = (of: (row: ProfileRow) => number) => rows.reduce((n, row) => n + of(row), 0);
  return {
    label,
    launches: total((row) => row.launches),
    seconds: total((row) => row.seconds),
    flops: total((row) => row.flops),
    bytes: total((row) => row.bytes),
  };
}

/** A step's profile by kind, the longest first. */
export interface StepProfile {
  readonly name: string;
  readonly total: ProfileRow;
  readonly kinds: readonly KindProfile[];
}

const kindOf = (part: string, { label }: ProfileRow) =>
  part === OPTIMIZER ? OPTIMIZER : KINDS[label.split(/[ /]/)[0]] ?? "others";

/**
 * One step of some work, by kind of kernel. A part that runs more often than another, as those of an
 * accumulated batch do, counts so many times.
 */
export function stepProfile({ name, parts }: WorkProfile): StepProfile {
  const fewest = Math.min(...parts.map(({ runs }) => runs));
  const kinds = new Map<string, ProfileRow[]>();
  for (const { part, runs, rows } of parts) {
    const times = Math.round(runs / fewest);
    for (const row of rows) {
      const kind = kindOf(part, row);
      const { label, launches, seconds, flops, bytes } = row;
      const scaled = {
        label,
        launches: times * launches,
        seconds: times * seconds,
        flops: times * flops,
        bytes: times * bytes,
      };
      kinds.set(kind, [...kinds.get(kind) ?? [], scaled]);
    }
  }
  const longest = (a: ProfileRow, b: ProfileRow) => b.seconds - a.seconds;
  const list = [...kinds].map(([kind, rows]) => ({
    kind,
    total: sum(kind, rows),
    rows: merged(rows).sort(longest),
  })).sort((a, b) => longest(a.total, b.total));
  return { name, total: sum("all", list.map(({ total }) => total)), kinds: list };
}

/** Rows of one label as one. */
function merged(rows: readonly ProfileRow[]): ProfileRow[] {
  const labels = [...new Set(rows.map(({ label }) => label))];
  return labels.map((label) => sum(label, rows.filter((row) => row.label === label)));
}
