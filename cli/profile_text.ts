/** Where the time of a step goes, as a table. */

import type { Peaks } from "../bench/peaks.ts";
import type { StepProfile } from "../bench/profile.ts";
import type { ProfileRow } from "../devices/device.ts";
import { table } from "./terminal/table.ts";

/** Kernels of a kind that are shown, and the share of the time below which one is not. */
const SHOWN = 6;
const LEAST = 0.005;
const LABEL = 56;

const shortened = (label: string) => label.length > LABEL ? `${label.slice(0, LABEL - 1)}…` : label;

/** A rate beside its share of a peak, if that is known; nothing where there is none. */
export function rateCells(rate: number, peak: number | undefined): [string, string] {
  return rate === 0 || !Number.isFinite(rate)
    ? ["", ""]
    : [rate.toFixed(1), peak === undefined ? "" : `${Math.round(100 * rate / peak)} %`];
}

/** The first columns of a profile's table, after the label. */
const PROFILE_COLUMNS = [
  ...["launches", "ms", "share"],
  ...["GFLOPS", "of peak", "GB/s", "of peak"],
] as const;

/**
 * A row a kind of kernel, with its longest kernels below. Shares above 100 % of the memory's peak
 * are of what lies in caches.
 * @param peaks those of what computed it, if they are known
 */
export function profileText({ name, total, kinds }: StepProfile, peaks?: Peaks): string {
  const row = (label: string, { launches, seconds, flops, bytes }: ProfileRow) => [
    shortened(label),
    `${launches}`,
    (1000 * seconds).toFixed(2),
    `${(100 * seconds / total.seconds).toFixed(1)} %`,
    ...rateCells(flops / seconds / 1e9, peaks?.machineGflops),
    ...rateCells(bytes / seconds / 1e9, peaks?.machineGBs),
  ];
  return table([
    [name, ...PROFILE_COLUMNS],
    ...kinds.flatMap(({ kind, total: own, rows }) => [
      row(kind, own),
      ...rows.slice(0, SHOWN)
        .filter(({ seconds }) => seconds >= LEAST * total.seconds)
        .map((kernel) => row(`  ${kernel.label}`, kernel)),
    ]),
    row("all", total),
  ]);
}
