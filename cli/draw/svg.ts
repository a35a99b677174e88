/** What drawings share: their look, light or dark as the reader has it, and their words. */

/** Colours that the colour-blind tell apart, on light and on dark ground; more are not needed. */
const LIGHT = ["#0b66c3", "#c2500a", "#5d7a00", "#8a3fa8"];
const DARK = ["#6cb4ff", "#ff9d5c", "#b4d455", "#d79bef"];

/** Series that have a colour of their own: classes l0 … for lines, k0 … for areas. */
export const COLOURS = LIGHT.length;

/** Width of every drawing: what GitHub shows of a page, so that letters keep their size. */
export const WIDTH = 820;

/** What a letter of 12 px takes at most, all together. */
const LETTER = 7.2;
/** Letters of a name in a legend. */
const NAME = 44;

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
  ".wide{stroke-width:5}",
  colours(LIGHT),
  "@media(prefers-color-scheme:dark){",
  "text{fill:#b6bdc8}.title{fill:#f0f3f6}.ground{fill:#14181d}.grid{stroke:#2a3038}",
  ".axis{stroke:#5b6470}",
  colours(DARK),
  "}",
].join("");

/** Text that may hold anything, for a document. */
function escape(text: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (c) => names[c]);
}

/** A number as it stands on an axis: 0.05, 10,000. */
export const number = (value: number) =>
  Number(value.toPrecision(6)).toLocaleString("en-US", { maximumSignificantDigits: 6 });

/** What a text takes of a line, about. */
export const textWidth = (content: string) => LETTER * [...content].length;

/** A name that is cut to a length; of a path its end tells more, so that is what stays. */
export function shortName(name: string, letters: number): string {
  const all = [...name];
  if (all.length <= letters) return name;
  return name.includes("/")
    ? `…${all.slice(1 - letters).join("")}`
    : `${all.slice(0, letters - 1).join("")}…`;
}

/** A coordinate. */
export const at = (value: number) => value.toFixed(1);

/** A text; `more` holds further attributes. */
export const text = (left: number, top: number, content: string, more = "") =>
  `<text x="${at(left)}" y="${at(top)}"${more}>${escape(content)}</text>`;

/** A straight line of a class. */
export const line = (kind: string, x1: number, y1: number, x2: number, y2: number) =>
  `<line class="${kind}" x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}"/>`;

/** The names of series with their colours, in a row from `left` on. */
export function legend(names: readonly string[], left: number): string[] {
  let x = left;
  return names.map((name, i) => {
    const mark = `<rect class="k${i % COLOURS}" x="${at(x)}" y="42" width="16" height="4" rx="2"/>`;
    const shown = shortName(name, NAME);
    const item = mark + text(x + 22, 48, shown);
    x += 46 + textWidth(shown);
    return item;
  });
}

/** A drawing with a title, from its parts. */
export function svg(
  title: string,
  left: number,
  height: number,
  parts: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" ` +
    `height="${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="ground" width="${WIDTH}" height="${height}" rx="8"/>`,
    text(left, 26, title, ' class="title"'),
    ...parts,
    "</svg>\n",
  ].join("\n");
}
