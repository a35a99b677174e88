/** `deno task bench growth`: how cost grows with context, position, width and depth. */

import {
  contextGrowth,
  depthGrowth,
  exponent,
  type Growth,
  type GrowthSeries,
  positionGrowth,
  QUICK_SIZES,
  SIZES,
  widthGrowth,
} from "../../bench/growth.ts";
import { writeFileAtomic } from "../../formats/atomic_file.ts";
import { machineReport } from "../../train/machine.ts";
import { logPlotSvg } from "../draw/log_plot.ts";
import { countText } from "../terminal/table.ts";
import type { BenchPart, PartTable } from "./part.ts";

/** What goes across, and its unit. */
const AXES: Readonly<Record<Growth["size"], string>> = {
  context: "context, tokens",
  position: "position, tokens",
  width: "hidden size",
  depth: "layers",
};
const MEASURES = [contextGrowth, positionGrowth, widthGrowth, depthGrowth] as const;

/** Exponents of a series, of its time and of its operations. */
const exponents = ({ points }: GrowthSeries) => ({
  seconds: exponent(points.map(({ x, seconds }) => ({ x, y: seconds }))),
  flops: exponent(points.map(({ x, flops }) => ({ x, y: flops }))),
});

/** Time of a token against what grows, beside its operations. */
export const growthPart: BenchPart = {
  name: "growth",
  title: "How cost grows",
  measure: async ({ quick, svg }, { say, device }) => {
    const sizes = quick ? QUICK_SIZES : SIZES;
    const { grown, description } = await device(async (own) => {
      const grown: Growth[] = [];
      for (const measure of MEASURES) {
        const growth = await measure(own, sizes);
        say(`measured by ${growth.size}`);
        grown.push(growth);
      }
      return { grown, description: own.description };
    });
    if (svg !== undefined) {
      writeFileAtomic(svg, growthDrawing(grown, description));
      say(svg);
    }
    return {
      content: grown.flatMap((growth) => [growthTable(growth), exponentLines(growth)]),
      report: {
        growth: grown.map((growth) => ({
          ...growth,
          series: growth.series.map((own) => ({ ...own, exponents: exponents(own) })),
        })),
      },
    };
  },
};

function growthTable({ size, series }: Growth): PartTable {
  const of = (what: string) => series.map(({ name }) => `${what}, ${name}`);
  return {
    rows: [
      [size, ...of("µs"), ...of("FLOPs")],
      ...series[0].points.map(({ x }, i) => [
        `${x}`,
        ...series.map(({ points }) => (1e6 * points[i].seconds).toFixed(2)),
        ...series.map(({ points }) => countText(Math.round(points[i].flops))),
      ]),
    ],
  };
}

/** The fitted exponents of time and operations, a line a series. */
function exponentLines({ size, title, series }: Growth): string {
  const lines = series.map((own) => {
    const { seconds, flops } = exponents(own);
    const power = (value: number) => `${size}^${value.toFixed(2).replace("-0.00", "0.00")}`;
    return `- ${own.name}: time ~ ${power(seconds)}, FLOPs ~ ${power(flops)}`;
  });
  return `${title[0].toUpperCase()}${title.slice(1)}, the upper half of the sizes:\n\n` +
    lines.join("\n");
}

/** A row of panels for every size: time, and operations. */
export function growthDrawing(grown: readonly Growth[], device: string): string {
  const { machine } = machineReport();
  return logPlotSvg({
    title: "How cost grows",
    panels: grown.flatMap(({ size, title, series }) => {
      const panel = (what: string, y: (point: GrowthSeries["points"][number]) => number) => ({
        title: `${title}, ${what}`,
        x: AXES[size],
        series: series.map(({ name, points }) => ({
          name,
          points: points.map((point) => ({ x: point.x, y: y(point) })),
        })),
      });
      return [
        panel("µs", ({ seconds }) => 1e6 * seconds),
        panel("MFLOP", ({ flops }) => flops / 1e6),
      ];
    }),
    note: `${machine.name}, ${machine.cores} cores; ${device}`,
  });
}
