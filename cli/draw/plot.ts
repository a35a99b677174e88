/** Line plots as SVG, light or dark as the reader has it. */

import { at, COLOURS, legend, line, number, svg, text } from "./svg.ts";

/** A line. */
export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** Lines over a common axis; y begins at 0. */
export interface Panel {
  /** What is drawn and in which unit: `time of a token, ms`. */
  readonly title: string;
  /** In the order of the legend; a name has one colour in all panels. */
  readonly series: readonly Series[];
}

/** Panels below one another, over one horizontal axis from 0. */
export interface Plot {
  readonly title: string;
  readonly x: string;
  readonly panels: readonly Panel[];
  /** A line of small print. */
  readonly note?: string;
}

const WIDTH = 720;
const LEFT = 64;
const RIGHT = 24;
const HEAD = 90;
const PANEL = 150;
/** Between panels, with the title of the next. */
const GAP = 44;
const FOOT = 48;

/** Steps of 1, 2 or 5 times a power of ten, about `count` of them up to a value. */
export function ticks(to: number, count: number): number[] {
  if (!(to > 0)) return [0];
  const rough = to / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((s) => s >= rough * 0.999)!;
  return Array.from({ length: Math.floor(to / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** Steps by powers of two, four to seven of them up to a number of tokens. */
export function tokenTicks(to: number): number[] {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(to / 4)));
  return Array.from({ length: Math.floor(to / step) + 1 }, (_, i) => i * step);
}

const tokens = (value: number) => value >= 1024 ? `${number(value / 1024)}K` : `${value}`;

/** Draws a plot. Texts may hold anything. */
export function plotSvg({ title, x, panels, note }: Plot): string {
  const points = panels.flatMap(({ series }) => series.flatMap((line) => line.points));
  const right = Math.max(1, ...points.map((point) => point.x));
  const column = (value: number) => LEFT + (WIDTH - LEFT - RIGHT) * value / right;
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const height = HEAD + panels.length * PANEL + (panels.length - 1) * GAP + FOOT +
    (note === undefined ? 0 : 18);

  const draw = ({ title, series }: Panel, index: number): string[] => {
    const top = HEAD + index * (PANEL + GAP);
    const bottom = top + PANEL;
    const highest = Math.max(...series.flatMap((line) => line.points.map((point) => point.y)));
    const scale = highest > 0 ? 1.08 * highest : 1;
    const row = (value: number) => bottom - PANEL * value / scale;
    const path = (points: Series["points"]) =>
      points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${at(column(x))} ${at(row(y))}`).join("");
    return [
      text(LEFT, top - 10, title, ' class="panel"'),
      ...ticks(scale, 4).flatMap((value) => [
        line(value === 0 ? "axis" : "grid", LEFT, row(value), WIDTH - RIGHT, row(value)),
        text(LEFT - 8, row(value) + 4, number(value), ' text-anchor="end"'),
      ]),
      ...series.map(({ name, points }) =>
        `<path class="l${names.indexOf(name) % COLOURS}" d="${path(points)}"/>`
      ),
    ];
  };
  const bottom = height - FOOT - (note === undefined ? 0 : 18);
  return svg(title, LEFT, { width: WIDTH, height }, [
    ...legend(names, LEFT),
    ...panels.flatMap(draw),
    ...tokenTicks(right).flatMap((value) => [
      line("axis", column(value), bottom, column(value), bottom + 4),
      text(column(value), bottom + 18, tokens(value), ' text-anchor="middle"'),
    ]),
    text((LEFT + WIDTH - RIGHT) / 2, bottom + 38, x, ' text-anchor="middle"'),
    ...(note === undefined ? [] : [text(LEFT, height - 12, note, ' class="note"')]),
  ]);
}
