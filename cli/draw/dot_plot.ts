/** Dots in rows as SVG, one row a thing that is compared, with figures beside them. */

import { at, COLOURS, legend, line, number, svg, text } from "./svg.ts";

/** One thing that is compared. */
export interface DotRow {
  readonly name: string;
  /** One value a series; absent where there is none. */
  readonly values: readonly (number | undefined)[];
  /** Texts below the plot's columns. */
  readonly figures: readonly string[];
}

/** Rows over one logarithmic axis. */
export interface DotPlot {
  readonly title: string;
  /** What the axis shows. */
  readonly axis: string;
  /** Names of the series, in the order of the legend. */
  readonly series: readonly string[];
  /** Titles of the figures. */
  readonly columns: readonly string[];
  readonly rows: readonly DotRow[];
  /** A line of small print. */
  readonly note?: string;
}

const WIDTH = 900;
const LEFT = 24;
const HEAD = 92;
const ROW = 30;
const FOOT = 62;
/** Columns of figures, and what a character takes at most. */
const FIGURE = 84;
const CHARACTER = 6.6;
/** Characters of a name that are shown. */
const NAME = 24;

/** Where an axis may have ticks within a power of ten, from many to few. */
const STEPS = [
  [1, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5],
  [1, 1.05, 1.1, 1.2, 1.5, 2, 3, 5],
  [1, 1.1, 1.2, 1.5, 2, 3, 5],
  [1, 1.2, 1.5, 2, 3, 5],
  [1, 1.5, 2, 3, 5],
  [1, 2, 5],
  [1],
];
/** Between ticks at least. */
const APART = 32;

/**
 * Ticks of a logarithmic axis, as many as can be read.
 * @param apart the least distance of two, as a share of the axis
 */
export function logTicks(from: number, to: number, apart: number): number[] {
  const first = Math.floor(Math.log10(from));
  const powers = Array.from(
    { length: Math.ceil(Math.log10(to)) - first + 1 },
    (_, i) => 10 ** (first + i),
  );
  const choices = STEPS.map((steps) =>
    powers.flatMap((power) => steps.map((step) => Number((step * power).toPrecision(3))))
      .filter((tick) => tick >= from * 0.9999 && tick <= to * 1.0001)
  );
  const least = apart * Math.log(to / from);
  const readable = (ticks: readonly number[]) =>
    ticks.every((tick, i) => i === 0 || Math.log(tick / ticks[i - 1]) >= least);
  return choices.find(readable) ?? choices[choices.length - 1];
}

/** Draws a plot. Texts may hold anything. */
export function dotPlotSvg({ title, axis, series, columns, rows, note }: DotPlot): string {
  const shown = rows.map(({ name }) => {
    const characters = [...name];
    return characters.length > NAME ? `${characters.slice(0, NAME - 1).join("")}…` : name;
  });
  const left = LEFT + 16 + CHARACTER * Math.max(6, ...shown.map((name) => name.length));
  const right = WIDTH - LEFT - FIGURE * columns.length;
  const values = rows.flatMap(({ values }) => values.filter((value) => value !== undefined));
  const least = Math.min(1, ...values);
  const most = Math.max(1.05 * least, ...values);
  const scale = Math.log(most / least) || 1;
  const column = (value: number) => left + (right - left - 12) * Math.log(value / least) / scale;
  const bottom = HEAD + ROW * rows.length;
  const height = bottom + FOOT + (note === undefined ? 0 : 14);
  const figure = (i: number) => right + FIGURE * (i + 1);
  const drawRow = ({ values, figures }: DotRow, row: number): string[] => {
    const y = HEAD + ROW * row + ROW / 2;
    const dots = values.flatMap((value, i) =>
      value === undefined ? [] : [{ x: column(value), kind: `k${i % COLOURS}` }]
    );
    const xs = dots.map(({ x }) => x);
    return [
      text(LEFT, y + 4, shown[row]),
      ...(dots.length < 2 ? [] : [line("axis", Math.min(...xs), y, Math.max(...xs), y)]),
      ...dots.map(({ x, kind }) => `<circle class="${kind}" cx="${at(x)}" cy="${at(y)}" r="5"/>`),
      ...figures.map((content, i) => text(figure(i), y + 4, content, ' text-anchor="end"')),
    ];
  };
  return svg(title, LEFT, { width: WIDTH, height }, [
    ...legend(series, LEFT),
    ...columns.map((name, i) =>
      text(figure(i), HEAD - 14, name, ' text-anchor="end" class="panel"')
    ),
    ...logTicks(least, most, APART / (right - left)).flatMap((tick) => [
      line("grid", column(tick), HEAD, column(tick), bottom),
      text(column(tick), bottom + 18, number(tick), ' text-anchor="middle"'),
    ]),
    line("axis", left, bottom, right, bottom),
    text((left + right) / 2, bottom + 40, axis, ' text-anchor="middle"'),
    ...rows.flatMap(drawRow),
    ...(note === undefined ? [] : [text(LEFT, height - 12, note, ' class="note"')]),
  ]);
}
