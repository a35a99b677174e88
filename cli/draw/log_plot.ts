/** Lines over logarithmic axes as SVG, panels in rows of two, light or dark as the reader has it. */

import { logTicks } from "./dot_plot.ts";
import type { Panel, Series } from "./plot.ts";
import { at, COLOURS, legend, line, number, svg, text, WIDTH } from "./svg.ts";

/** Lines over axes of their own; neither has a 0. */
export interface LogPanel extends Panel {
  readonly x: string;
}

/** Panels, two a row. */
export interface LogPlot {
  readonly title: string;
  readonly panels: readonly LogPanel[];
  /** A line of small print. */
  readonly note?: string;
}

const COLUMNS = 2;
const LEFT = 58;
const RIGHT = 26;
const HEAD = 90;
const PANEL = 170;
/** Under a panel, with its axis and the title of the next. */
const GAP = 78;
/** Between ticks at least, down and across. */
const APART = 22;
const APART_ACROSS = 44;

/** 1024 as 1K. */
const short = (value: number) =>
  value >= 1024 && value % 1024 === 0 ? `${value / 1024}K` : number(value);

/** A range of positive values, with room for a point where there is only one value. */
function range(values: readonly number[]): { from: number; to: number } {
  const [from, to] = [Math.min(...values), Math.max(...values)];
  return to > from ? { from, to } : { from: from / 2, to: 2 * to };
}

/** Draws a plot. Texts may hold anything. */
export function logPlotSvg({ title, panels, note }: LogPlot): string {
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const rows = Math.ceil(panels.length / COLUMNS);
  const height = HEAD + rows * (PANEL + GAP) - (note === undefined ? 30 : 8);
  const width = WIDTH / COLUMNS;

  const draw = ({ title, x, series }: LogPanel, index: number): string[] => {
    const left = LEFT + width * (index % COLUMNS);
    const right = width * (index % COLUMNS + 1) - RIGHT;
    const top = HEAD + Math.floor(index / COLUMNS) * (PANEL + GAP);
    const bottom = top + PANEL;
    const points = series.flatMap((line) => line.points);
    const across = range(points.map((point) => point.x));
    const tight = range(points.map((point) => point.y));
    const down = { from: tight.from / 1.25, to: tight.to * 1.25 };
    const share = (value: number, { from, to }: typeof across) =>
      Math.log(value / from) / Math.log(to / from);
    const column = (value: number) => left + (right - left) * share(value, across);
    const row = (value: number) => bottom - PANEL * share(value, down);
    const path = (points: Series["points"]) =>
      points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${at(column(x))} ${at(row(y))}`).join("");
    const xs = [...new Set(points.map((point) => point.x))].sort((a, b) => a - b);
    const every = Math.ceil(APART_ACROSS * xs.length / (right - left));
    return [
      text(left, top - 10, title, ' class="panel"'),
      ...logTicks(down.from, down.to, APART / PANEL).flatMap((value) => [
        line("grid", left, row(value), right, row(value)),
        text(left - 8, row(value) + 4, number(value), ' text-anchor="end"'),
      ]),
      line("axis", left, bottom, right, bottom),
      ...xs.filter((_, i) => (xs.length - 1 - i) % every === 0).flatMap((value) => [
        line("axis", column(value), bottom, column(value), bottom + 4),
        text(column(value), bottom + 18, short(value), ' text-anchor="middle"'),
      ]),
      text((left + right) / 2, bottom + 36, x, ' text-anchor="middle"'),
      ...series.flatMap(({ name, points }) => {
        const colour = names.indexOf(name) % COLOURS;
        return [
          `<path class="l${colour}" d="${path(points)}"/>`,
          ...points.map(({ x, y }) =>
            `<circle class="k${colour}" cx="${at(column(x))}" cy="${at(row(y))}" r="2.5"/>`
          ),
        ];
      }),
    ];
  };
  return svg(title, LEFT, height, [
    ...legend(names, LEFT),
    ...panels.flatMap(draw),
    ...(note === undefined ? [] : [text(LEFT, height - 12, note, ' class="note"')]),
  ]);
}
