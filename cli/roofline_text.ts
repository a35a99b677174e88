/** What `deno task plan --roofline` prints. */

import type { Fleet } from "../plan/fleets.ts";
import {
  matrixPeak,
  type RatedFleet,
  type StageRoofline,
  type WorkTime,
} from "../plan/roofline.ts";
import { sum, timeText } from "./plan_text.ts";
import { bytesText, countText, table } from "./table.ts";

/** Kinds of work in words. */
const WORK: Readonly<Record<WorkTime["kind"], string>> = {
  products: "matrix products",
  attention: "attention",
  wkv: "recurrence (wkv)",
  pointwise: "pointwise, reductions",
  head: "embedding, head, loss",
  optimizer: "optimizer",
  communication: "communication",
};

function workRow(work: WorkTime, { seconds }: StageRoofline, fleet: Fleet): string[] {
  return [
    WORK[work.kind],
    countText(Math.round(work.flopsPerToken)),
    bytesText(Math.round(work.bytesPerToken)),
    timeText(work.seconds, fleet),
    `${Math.round(100 * work.seconds / seconds)} %`,
    work.bound,
  ];
}

/** The units and the memory that times are of. */
function basis({ name, row, devices, computes }: RatedFleet): string[] {
  const products = row.products === undefined
    ? "as its maker states them"
    : `the best product that was measured (${row.products.from}), of ${
      countText(row.peak.bf16)
    }FLOP/s stated`;
  const links = devices === 1 ? "" : `, ${countText(row.node === 1 ? row.network : row.link)}B/s ` +
    `one way to the others${
      devices > row.node && row.node > 1
        ? ` and ${countText(row.network)}B/s between machines of ${row.node}`
        : ""
    }`;
  return [
    `${name}: products and attention at ${countText(matrixPeak(row))}FLOP/s in ${computes}, ` +
    `${products}; all else at ${countText(row.peak.f32)}FLOP/s in f32; ` +
    `${countText(row.bandwidth)}B/s of memory${links}`,
    ...(devices === 1
      ? []
      : ["communication goes on while kernels run: a stage takes the longer of the two"]),
    "no kernel is faster than that; starting kernels, reading data, measuring and waiting are not in it",
  ];
}

/**
 * Every stage by kind of work, and all stages together.
 * @param names of the stages
 * @param planned seconds of the whole plan
 */
export function rooflineText(
  names: readonly string[],
  rooflines: readonly StageRoofline[],
  fleet: RatedFleet,
  planned: number,
): string {
  const head = ["FLOPs/token", "bytes/token", "time", "share", "bound by"];
  const tables = rooflines.map((roofline, i) =>
    table([
      [names[i], ...head],
      ...roofline.work.map((work) => workRow(work, roofline, fleet)),
      [
        "in all",
        countText(Math.round(sum(roofline.work.map((work) => work.flopsPerToken)))),
        "",
        timeText(roofline.seconds, fleet),
        "",
        roofline.bound,
      ],
    ])
  );
  const seconds = sum(rooflines.map((roofline) => roofline.seconds));
  const lines = [
    `roofline: ${timeText(seconds, fleet)}, ${
      Math.round(100 * seconds / planned)
    } % of the plan's ${timeText(planned, fleet)}`,
    ...basis(fleet),
  ];
  return `${tables.join("\n")}\n${lines.join("\n")}\n`;
}
