/** Tables of text and of Markdown, and what stands in them. */

/** Columns as wide as they must be; all but the first are aligned to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, c) => Math.max(...rows.map((row) => [...row[c]].length)));
  const line = (row: readonly string[]) =>
    row.map((cell, c) => c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c])).join("  ")
      .trimEnd();
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

/** Text in two columns side by side, each wrapped at words. */
export function sideBySide(
  left: { title: string; text: string },
  right: { title: string; text: string },
  width: number,
): string {
  const column = Math.max(20, Math.floor((width - 3) / 2));
  const [a, b] = [left, right].map(({ title, text }) => [title, ...wrap(text, column)]);
  const lines = Array.from({ length: Math.max(a.length, b.length) }, (_, i) => {
    const cell = a[i] ?? "";
    return `${cell}${" ".repeat(Math.max(0, column - [...cell].length))} │ ${b[i] ?? ""}`.trimEnd();
  });
  return lines.join("\n") + "\n";
}

/** Lines of at most `width` characters; words longer than that are cut. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split(/\r?\n/)) {
    let line = "";
    for (const word of paragraph.split(/\s+/).filter(Boolean)) {
      let rest = [...word];
      if (line !== "" && [...line].length + 1 + rest.length > width) {
        lines.push(line);
        line = "";
      }
      while (rest.length > width) {
        lines.push(rest.slice(0, width).join(""));
        rest = rest.slice(width);
      }
      line = line === "" ? rest.join("") : `${line} ${rest.join("")}`;
    }
    lines.push(line);
  }
  return lines;
}
