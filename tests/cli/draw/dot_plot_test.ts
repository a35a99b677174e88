import { assert, assertEquals } from "@std/assert";
import { type DotPlot, dotPlotSvg, logTicks } from "../../../cli/draw/dot_plot.ts";

const PLOT: DotPlot = {
  title: 'What is <left> & "right"',
  axis: "ratio",
  series: ["after align", "after distill"],
  columns: ["tokens", "time"],
  rows: [
    { name: "published", values: [2, 1.1], figures: ["1 K", "2 s"] },
    { name: "no-gate", values: [4, undefined], figures: ["3 K", "4 s"] },
    { name: "a-name-that-is-longer-than-anybody-can-read", values: [], figures: ["failed", ""] },
  ],
  note: "a machine",
};

/** Attributes of all elements of a name. */
const attributes = (svg: string, name: string) =>
  [...svg.matchAll(new RegExp(`<${name}\\b([^>]*)/>`, "g"))].map(([, text]) =>
    Object.fromEntries(
      [...text.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value]),
    )
  );

Deno.test("dot plot: ticks are round numbers within the range, no more than can be read", () => {
  assertEquals(logTicks(1, 1.05, 0.1), [1, 1.02, 1.05]);
  assertEquals(logTicks(1, 1.6, 0.09), [1, 1.05, 1.1, 1.2, 1.5]);
  assertEquals(logTicks(1, 4, 0.1), [1, 1.2, 1.5, 2, 3]);
  assertEquals(logTicks(0.95, 30, 0.15), [1, 2, 5, 10, 20]);
  assertEquals(logTicks(1, 1e9, 0.1), [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]);
});

Deno.test("dot plot: a dot a value, further right where it is more, within the plot", () => {
  const svg = dotPlotSvg(PLOT);
  assert(!/NaN|undefined|Infinity/.test(svg), svg);
  const dots = attributes(svg, "circle");
  assertEquals(dots.map((dot) => dot.class), ["k0", "k1", "k0"]);
  const [two, near, four] = dots.map(({ cx }) => Number(cx));
  assert(near < two && two < four);
  // Equal factors are equal distances.
  const one = two - (four - two);
  assert(Math.abs((near - one) / (two - one) - Math.log(1.1) / Math.log(2)) < 0.01);
  assert(dots[0].cy === dots[1].cy && Number(dots[2].cy) > Number(dots[0].cy));
  for (const { x1, x2 } of attributes(svg, "line")) {
    assert(Number(x1) >= 24 && Number(x2) <= 796, `${x1} ${x2}`);
  }
});

Deno.test("dot plot: the axis ends with a number, not before the last dot", () => {
  for (const [values, end] of [[[1.03, 1.18], "1.2"], [[3.9], "5"], [[1], "1.05"]] as const) {
    const rows = [{ name: "a", values, figures: ["", ""] }];
    const svg = dotPlotSvg({ ...PLOT, rows });
    const axis = attributes(svg, "line").filter(({ class: kind }) => kind === "grid").at(-1)!;
    assert(svg.includes(`<text x="${axis.x1}"`) && svg.includes(`>${end}</text>`), svg);
    for (const { cx } of attributes(svg, "circle")) assert(Number(cx) <= Number(axis.x1));
  }
});

Deno.test("dot plot: words of any kind, both grounds, long names cut", () => {
  const svg = dotPlotSvg(PLOT);
  assert(svg.includes("<title>What is &lt;left&gt; &amp; &quot;right&quot;</title>"));
  for (const word of ["published", "after distill", "tokens", "4 s", "failed", "a machine"]) {
    assert(svg.includes(`>${word}</text>`), word);
  }
  assert(svg.includes(">a-name-that-is-longer-t…</text>"));
  assert(svg.includes("@media(prefers-color-scheme:dark)"));
  const empty = dotPlotSvg({ ...PLOT, rows: [], note: undefined });
  assert(!/NaN|undefined|Infinity/.test(empty), empty);
});
