/** Tables of text and of Markdown, and what stands in them. */

type Rows = readonly (readonly string[])[];

/** Characters that take two columns of a terminal: those of East Asia, and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
/** Characters that take none: they change the one before. */
const MARK = /[\p{Mn}\p{Me}\p{Cf}]/u;

const charColumns = (char: string) => WIDE.test(char) ? 2 : MARK.test(char) ? 0 : 1;

/** Columns of a terminal that a text takes. */
export const textColumns = (text: string): number =>
  [...text].reduce((sum, char) => sum + charColumns(char), 0);

const padding = (text: string, columns: number) =>
  " ".repeat(Math.max(0, columns - textColumns(text)));

const GAP = 2;

/**
 * Groups of neighbouring columns, each of which fits beside the first column; as few as there can
 * be, and about as wide as one another.
 */
function fold([first, ...others]: readonly number[], width: number): number[][] {
  const grouped = (limit: number) => {
    const groups: number[][] = [];
    let taken = Infinity;
    others.forEach((own, i) => {
      if (taken + GAP + own > limit) {
        groups.push([]);
        taken = first;
      }
      groups[groups.length - 1].push(i + 1);
      taken += GAP + own;
    });
    return groups;
  };
  const fewest = grouped(width).length;
  let limit = first + GAP + Math.max(0, ...others);
  while (grouped(limit).length > fewest) limit++;
  return grouped(limit);
}

/**
 * Columns as wide as they must be; all but the first are aligned to the right. A table that is wider
 * than the columns of a terminal goes on below, each part with the first column.
 */
export function table(rows: Rows, columns = Infinity): string {
  const widths = rows[0].map((_, c) => Math.max(...rows.map((row) => textColumns(row[c]))));
  const total = widths.reduce((sum, width) => sum + width + GAP, -GAP);
  if (total <= columns || widths.length < 3) return block(rows, widths);
  const pick = <T>(list: readonly T[], group: readonly number[]) =>
    [0, ...group].map((c) => list[c]);
  return fold(widths, columns)
    .map((group) => block(rows.map((row) => pick(row, group)), pick(widths, group)))
    .join("\n");
}

function block(rows: Rows, widths: readonly number[]): string {
  const line = (row: readonly string[]) =>
    row.map((cell, c) =>
      c === 0 ? cell + padding(cell, widths[c]) : padding(cell, widths[c]) + cell
    )
      .join(" ".repeat(GAP)).trimEnd();
  const rule = widths.map((width) => "─".repeat(width)).join("──");
  return [line(rows[0]), rule, ...rows.slice(1).map(line)].join("\n") + "\n";
}

/** A table of Markdown, its columns as wide as they must be, as `deno fmt` has it. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = cells[0].map((_, c) => Math.max(3, ...cells.map((row) => [...row[c]].length)));
  const pad = (text: string, c: number) => text + " ".repeat(widths[c] - [...text].length);
  const line = (row: readonly string[]) => `| ${row.map(pad).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join("\n");
}

/** Bytes as 1.5 KiB, 20.0 MiB. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/** Counts as 1.05 M, 256.0 K. */
export function countText(count: number): string {
  const units = ["", " K", " M", " G", " T", " P", " E"];
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${value}` : `${value.toFixed(2)}${units[unit]}`;
}

/** Text in two columns side by side, each wrapped at words; below one another in few columns. */
export function sideBySide(
  left: { title: string; text: string },
  right: { title: string; text: string },
  width: number,
): string {
  if (width < 60) {
    return [left, right]
      .map(({ title, text }) =>
        `${title}\n${"─".repeat(textColumns(title))}\n${wrap(text, width).join("\n")}\n`
      )
      .join("\n");
  }
  const column = Math.floor((width - 3) / 2);
  const [a, b] = [left, right].map(({ title, text }) => [title, ...wrap(text, column)]);
  const lines = Array.from({ length: Math.max(a.length, b.length) }, (_, i) => {
    const cell = a[i] ?? "";
    return `${cell}${padding(cell, column)} │ ${b[i] ?? ""}`.trimEnd();
  });
  return lines.join("\n") + "\n";
}

/** Lines of at most `width` columns; words longer than that are cut. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split(/\r?\n/)) {
    let line = "";
    let taken = 0;
    const end = () => {
      lines.push(line);
      line = "";
      taken = 0;
    };
    for (const word of paragraph.split(/\s+/).filter(Boolean)) {
      if (line !== "" && taken + 1 + textColumns(word) > width) end();
      if (line !== "") {
        line += " ";
        taken++;
      }
      for (const char of word) {
        const own = charColumns(char);
        if (taken + own > width && line !== "") end();
        line += char;
        taken += own;
      }
    }
    end();
  }
  return lines;
}

/** A text in lines of a terminal; as it is where there is none. */
export const paragraph = (text: string, columns: number): string =>
  columns === Infinity ? text : wrap(text, columns).join("\n");
