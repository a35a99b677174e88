/** What `deno task plan --roofline` prints. */

import type { Stage } from "../../dsl/stages.ts";
import type { Fleet } from "../../plan/fleets.ts";
import {
  type Bound,
  matrixPeak,
  type RatedFleet,
  REACHED,
  type StageRoofline,
  type WorkTime,
} from "../../plan/roofline.ts";
import { dollarsText, sum, timeText } from "./text.ts";
import { bytesText, countText, paragraph, table } from "../terminal/table.ts";

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

/** What decides a time, in words. */
const LIMITS: Readonly<Record<Bound, string>> = {
  compute: "units take",
  memory: "memory takes",
  link: "links take",
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
    `${name}: products and attention at ${
      countText(matrixPeak(row, computes))
    }FLOP/s in ${computes}, ` +
    `${products}; all else at ${countText(row.peak.f32)}FLOP/s in f32; ` +
    `${countText(row.bandwidth)}B/s of memory${links}`,
    ...(devices === 1
      ? []
      : ["communication goes on while kernels run: a stage takes the longer of the two"]),
    "no kernel is faster than that; starting kernels, reading data, measuring and waiting are not in it",
  ];
}

/** A stage that is planned and what it is at the limits of the fleet. */
export interface PlannedRoofline {
  readonly stage: Pick<Stage, "name" | "kind">;
  /** Seconds that the plan says. */
  readonly planned: number;
  readonly roofline: StageRoofline;
}

function stageTable(
  { stage, roofline }: PlannedRoofline,
  fleet: Fleet,
  columns: number,
): string {
  const flops = sum(roofline.work.map((work) => work.flopsPerToken));
  return table([
    [stage.name, "FLOPs/token", "bytes/token", "time", "share", "bound by"],
    ...roofline.work.map((work) => workRow(work, roofline, fleet)),
    [
      ...["in all", countText(Math.round(flops)), ""],
      ...[timeText(roofline.seconds, fleet), "", roofline.bound],
    ],
  ], columns);
}

/** Every stage by kind of work, and all stages together. */
export function rooflineText(
  stages: readonly PlannedRoofline[],
  fleet: RatedFleet,
  columns = Infinity,
): string {
  const total = (of: (stage: PlannedRoofline) => number) => sum(stages.map(of));
  const expected = total(({ roofline }) => roofline.expected);
  const money = fleet.price > 0
    ? `, ${dollarsText(expected / 3600 * fleet.devices * fleet.price)}`
    : "";
  const kinds = [...new Set(stages.map(({ stage }) => stage.kind))];
  const shares = kinds.map((kind) => `${kind} ${Math.round(100 * REACHED[kind])} %`).join(", ");
  const lines = [
    `roofline: ${timeText(total(({ roofline }) => roofline.seconds), fleet)} at least; ` +
    `${timeText(expected, fleet)}${money} where a run comes as near to it as the paper's did ` +
    `(${shares}); the plan says ${timeText(total(({ planned }) => planned), fleet)}`,
    ...stages.flatMap(({ stage, planned, roofline }) =>
      planned >= roofline.seconds ? [] : [
        `${stage.name}: the plan's ${timeText(planned, fleet)} cannot be: its share of the peak ` +
        `was fitted to other devices, and here the ${LIMITS[roofline.bound]} ` +
        `${timeText(roofline.seconds, fleet)} at least`,
      ]
    ),
    ...basis(fleet),
  ];
  const tables = stages.map((stage) => stageTable(stage, fleet, columns));
  const told = lines.map((line) => paragraph(line, columns));
  return `${tables.join("\n")}\n${told.join("\n")}\n`;
}
