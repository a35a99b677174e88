/** Line plots as SVG, light or dark as the reader has it. */

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

/** Two colours that the colour-blind tell apart, on light and on dark ground; more are not needed. */
const LIGHT = ["#0b66c3", "#c2500a", "#5d7a00", "#8a3fa8"];
const DARK = ["#6cb4ff", "#ff9d5c", "#b4d455", "#d79bef"];

const colours = (list: readonly string[]) =>
  list.map((colour, i) => `.l${i}{stroke:${colour}}.k${i}{fill:${colour}}`).join("");

const STYLE = [
  "text{font:12px system-ui,sans-serif;fill:#3d4451}",
  ".title{font-size:15px;font-weight:600;fill:#12161c}",
  ".panel{font-weight:600}",
  ".note{font-size:11px}",
  ".ground{fill:#fff}",
  ".grid{stroke:#e3e6ea}",
  ".axis{stroke:#9aa2ad}",
  "path{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}",
  colours(LIGHT),
  "@media(prefers-color-scheme:dark){",
  "text{fill:#b6bdc8}.title{fill:#f0f3f6}.ground{fill:#14181d}.grid{stroke:#2a3038}",
  ".axis{stroke:#5b6470}",
  colours(DARK),
  "}",
].join("");

function escape(text: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (c) => names[c]);
}

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

const number = (value: number) => String(Number(value.toPrecision(6)));
const tokens = (value: number) => value >= 1024 ? `${number(value / 1024)}K` : `${value}`;
const at = (value: number) => value.toFixed(1);

/** Draws a plot. Texts may hold anything. */
export function plotSvg({ title, x, panels, note }: Plot): string {
  const points = panels.flatMap(({ series }) => series.flatMap((line) => line.points));
  const right = Math.max(1, ...points.map((point) => point.x));
  const column = (value: number) => LEFT + (WIDTH - LEFT - RIGHT) * value / right;
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const height = HEAD + panels.length * PANEL + (panels.length - 1) * GAP + FOOT +
    (note === undefined ? 0 : 18);
  const text = (left: number, top: number, content: string, more = "") =>
    `<text x="${at(left)}" y="${at(top)}"${more}>${escape(content)}</text>`;
  const line = (kind: string, x1: number, y1: number, x2: number, y2: number) =>
    `<line class="${kind}" x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}"/>`;

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
        `<path class="l${names.indexOf(name) % LIGHT.length}" d="${path(points)}"/>`
      ),
    ];
  };
  const bottom = height - FOOT - (note === undefined ? 0 : 18);
  let legend = LEFT;
  const legendItem = (name: string, i: number): string => {
    const left = legend;
    legend += 52 + 7 * name.length;
    return `<rect class="k${i % LIGHT.length}" x="${
      at(left)
    }" y="42" width="16" height="4" rx="2"/>` +
      text(left + 22, 48, name);
  };
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" ` +
    `height="${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="ground" width="${WIDTH}" height="${height}" rx="8"/>`,
    text(LEFT, 26, title, ' class="title"'),
    ...names.map(legendItem),
    ...panels.flatMap(draw),
    ...tokenTicks(right).flatMap((value) => [
      line("axis", column(value), bottom, column(value), bottom + 4),
      text(column(value), bottom + 18, tokens(value), ' text-anchor="middle"'),
    ]),
    text((LEFT + WIDTH - RIGHT) / 2, bottom + 38, x, ' text-anchor="middle"'),
    ...(note === undefined ? [] : [text(LEFT, height - 12, note, ' class="note"')]),
    "</svg>\n",
  ].join("\n");
}
