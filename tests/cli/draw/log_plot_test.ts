import { assert, assertEquals } from "@std/assert";
import { logPlotSvg } from "../../../cli/draw/log_plot.ts";

const line = (name: string, y: (x: number) => number) => ({
  name,
  points: [256, 512, 1024, 2048].map((x) => ({ x, y: y(x) })),
});

const circles = (svg: string) =>
  [...svg.matchAll(/<circle class="(k\d)" cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, kind, x, y]) => ({
    kind,
    x: Number(x),
    y: Number(y),
  }));

Deno.test("log plot: equal factors are equal distances, two panels side by side", () => {
  const svg = logPlotSvg({
    title: "time & <work>",
    panels: [
      { title: "µs", x: "context", series: [line("a", (x) => x), line("b", (x) => x * x)] },
      { title: "FLOPs", x: "context", series: [line("a", () => 5)] },
    ],
    note: "a machine",
  });
  assert(!/NaN|undefined|Infinity/.test(svg), svg);
  const dots = circles(svg);
  assertEquals(dots.map(({ kind }) => kind).join(" "), "k0 k0 k0 k0 k1 k1 k1 k1 k0 k0 k0 k0");
  const [a, b, flat] = [dots.slice(0, 4), dots.slice(4, 8), dots.slice(8)];
  const gaps = (axis: "x" | "y", list: typeof a) =>
    list.slice(1).map((dot, i) => dot[axis] - list[i][axis]);
  for (const list of [a, b]) {
    for (const axis of ["x", "y"] as const) {
      const [first, ...others] = gaps(axis, list);
      assert(others.every((gap) => Math.abs(gap - first) < 0.21), `${axis}: ${gaps(axis, list)}`);
    }
  }
  assert(Math.abs(gaps("y", b)[0] - 2 * gaps("y", a)[0]) < 0.31);
  assertEquals(new Set(flat.map(({ y }) => y)).size, 1);
  // Beside the first, at the same height.
  assert(flat[0].x > a[3].x);
  for (const word of ["time &amp; &lt;work&gt;", "2K", "context", "a machine"]) {
    assert(svg.includes(`>${word}<`), word);
  }
});
