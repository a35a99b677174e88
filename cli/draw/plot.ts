/** Line plots as SVG, light or dark as the reader has it. */

import { at, COLOURS, legend, line, number, svg, text, WIDTH } from "./svg.ts";

/** A line. */
export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** Whether another line may lie on it: it is then drawn wider, and seen below that. */
  readonly wide?: boolean;
}

/** Lines over an axis; y begins at 0. */
export interface Panel {
  /** What is drawn and in which unit: `time of a token, ms`. */
  readonly title: string;
  /** In the order of the legend; a name has one colour in all panels. */
  readonly series: readonly Series[];
}

/** Panels below one another, over horizontal axes from 0. */
export interface Plot {
  readonly title: string;
  /** What goes across: tokens over one axis below all panels, or steps, an axis a panel. */
  readonly x: "tokens" | "steps";
  readonly panels: readonly Panel[];
  /** A line of small print. */
  readonly note?: string;
}

const LEFT = 64;
/** Beside a panel, with the last values of its lines. */
const RIGHT = 72;
const HEAD = 90;
const PANEL = 150;
/** Between panels, with the title of the next. */
const GAP = 44;
/** Under an axis, with its numbers and its name. */
const FOOT = 48;
const CENTRED = ' text-anchor="middle"';
/** Between the last values of two lines. */
const APART = 14;

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

/** Heights at least so far apart, in their order, each as near to where it was as goes upwards. */
function spread(rows: readonly number[], apart: number): number[] {
  const order = rows.map((_, i) => i).sort((a, b) => rows[b] - rows[a]);
  const out = [...rows];
  order.slice(1).forEach((i, rank) => out[i] = Math.min(out[i], out[order[rank]] - apart));
  return out;
}

/** Draws a plot. Texts may hold anything. */
export function plotSvg({ title, x, panels, note }: Plot): string {
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const own = x === "steps";
  const gap = own ? GAP + FOOT : GAP;
  const height = HEAD + panels.length * PANEL + (panels.length - 1) * gap + FOOT +
    (note === undefined ? 0 : 26);
  const end = WIDTH - RIGHT;
  const last = (shown: readonly Panel[]) =>
    Math.max(1, ...shown.flatMap(({ series }) => series.flatMap((s) => s.points.map((p) => p.x))));
  const column = (value: number, to: number) => LEFT + (end - LEFT) * value / to;

  const axis = (bottom: number, to: number): string[] => [
    ...(own ? ticks(to, 8) : tokenTicks(to)).flatMap((value) => [
      line("axis", column(value, to), bottom, column(value, to), bottom + 4),
      text(column(value, to), bottom + 18, own ? number(value) : tokens(value), CENTRED),
    ]),
    text((LEFT + end) / 2, bottom + 38, own ? "steps" : "tokens in the text", CENTRED),
  ];

  const draw = (panel: Panel, index: number): string[] => {
    const top = HEAD + index * (PANEL + gap);
    const bottom = top + PANEL;
    const to = last(own ? [panel] : panels);
    const series = panel.series.filter(({ points }) => points.length > 0);
    const highest = Math.max(...series.flatMap((line) => line.points.map((point) => point.y)));
    const scale = highest > 0 ? 1.08 * highest : 1;
    const row = (value: number) => bottom - PANEL * value / scale;
    const colour = (name: string) => names.indexOf(name) % COLOURS;
    const path = (points: Series["points"]) =>
      points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${at(column(x, to))} ${at(row(y))}`)
        .join("");
    const lasts = series.map(({ points }) => points[points.length - 1]);
    const heights = spread(lasts.map(({ y }) => row(y)), APART);
    return [
      text(LEFT, top - 10, panel.title, ' class="panel"'),
      ...ticks(scale, 4).flatMap((value) => [
        line(value === 0 ? "axis" : "grid", LEFT, row(value), end, row(value)),
        text(LEFT - 8, row(value) + 4, number(value), ' text-anchor="end"'),
      ]),
      ...series.map(({ name, points, wide }) =>
        `<path class="l${colour(name)}${wide ? " wide" : ""}" d="${path(points)}"/>`
      ),
      ...series.map(({ name }, i) =>
        text(
          column(lasts[i].x, to) + 6,
          heights[i] + 4,
          number(Number(lasts[i].y.toPrecision(3))),
          ` class="k${colour(name)}"`,
        )
      ),
      ...(own ? axis(bottom, to) : []),
    ];
  };
  const bottom = HEAD + panels.length * PANEL + (panels.length - 1) * gap;
  return svg(title, LEFT, height, [
    ...legend(names, LEFT),
    ...panels.flatMap(draw),
    ...(own ? [] : axis(bottom, last(panels))),
    ...(note === undefined ? [] : [text(LEFT, height - 12, note, ' class="note"')]),
  ]);
}
