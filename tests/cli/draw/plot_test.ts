import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Plot, plotSvg, ticks, tokenTicks } from "../../../cli/draw/plot.ts";

const PLOT: Plot = {
  title: 'Decoding <fast> & "far"',
  x: "tokens",
  panels: [
    {
      title: "time, ms",
      series: [
        { name: "student", points: [{ x: 256, y: 1 }, { x: 512, y: 1 }] },
        { name: "teacher", points: [{ x: 256, y: 2 }, { x: 512, y: 4 }] },
      ],
    },
    { title: "state", series: [{ name: "teacher", points: [{ x: 512, y: 0 }] }] },
  ],
  note: "a machine",
};

Deno.test("plot: ticks are round, from 0 to the value", () => {
  assertEquals(ticks(1, 4), [0, 0.5, 1]);
  assertEquals(ticks(4.4, 4), [0, 2, 4]);
  assertEquals(ticks(20, 4), [0, 5, 10, 15, 20]);
  assertEquals(ticks(0, 4), [0]);
  assertEquals(ticks(NaN, 4), [0]);
  assertEquals(tokenTicks(32784), [0, 8192, 16384, 24576, 32768]);
  assertEquals(tokenTicks(3), [0, 1, 2, 3]);
  for (let to = 4; to < 1e5; to = Math.ceil(to * 1.3)) {
    const list = tokenTicks(to);
    assert(list.length >= 5 && list.length <= 8, `${to}: ${list}`);
  }
});

/** Elements of one name, each as its attributes and its text. */
function elements(svg: string, name: string): { text: string; attributes: Map<string, string> }[] {
  return [...svg.matchAll(new RegExp(`<${name}\\b([^>]*?)(?:/>|>([^<]*)</${name}>)`, "g"))]
    .map(([, attributes, text = ""]) => ({
      text,
      attributes: new Map(
        [...attributes.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, k, v]) => [k, v]),
      ),
    }));
}

Deno.test("plot: well-formed, whatever the texts say", () => {
  const svg = plotSvg(PLOT);
  assertMatch(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 820 \d+"/);
  // Every tag is closed in its order.
  const open: string[] = [];
  for (const [, end, name, self] of svg.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
    if (end) assertEquals(open.pop(), name);
    else if (!self) open.push(name);
  }
  assertEquals(open, []);
  assertEquals(elements(svg, "title")[0].text, "Decoding &lt;fast&gt; &amp; &quot;far&quot;");
  assert(!/NaN|undefined|Infinity/.test(svg), svg);
});

Deno.test("plot: axes with units, a legend, a colour for every name in light and in dark", () => {
  const svg = plotSvg(PLOT);
  const texts = elements(svg, "text").map(({ text }) => text);
  for (
    const text of [
      ...["time, ms", "state", "student", "teacher", "tokens in the text", "512", "4", "a machine"],
    ]
  ) {
    assert(texts.includes(text), `${text}: ${texts}`);
  }
  assertEquals(elements(svg, "path").map(({ attributes }) => attributes.get("class")), [
    "l0",
    "l1",
    "l1",
  ]);
  const [, light, dark] = /<style>(.*)@media\(prefers-color-scheme:dark\){(.*)}<\/style>/
    .exec(svg)!;
  for (const rule of [".l0{stroke:", ".l1{stroke:", ".k0{fill:", ".k1{fill:", ".ground{fill:"]) {
    assert(light.includes(rule) && dark.includes(rule), rule);
  }
});

Deno.test("plot: lines go up with their values and stay within their panels", () => {
  const svg = plotSvg(PLOT);
  const rows = elements(svg, "path").map(({ attributes }) =>
    [...attributes.get("d")!.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [+x, +y])
  );
  const [flat, rising] = rows;
  assertEquals(flat[0][1], flat[1][1]);
  assert(rising[1][1] < rising[0][1], "up is less");
  assertEquals(rising[1][0], 820 - 72, "the last point is at the right end");
  const height = Number(/viewBox="0 0 820 (\d+)"/.exec(svg)![1]);
  for (const [x, y] of rows.flat()) assert(x >= 64 && x <= 748 && y >= 90 && y <= height);
});

Deno.test("plot: nothing to draw", () => {
  const svg = plotSvg({
    title: "t",
    x: "tokens",
    panels: [{ title: "p", series: [] }, { title: "q", series: [{ name: "a", points: [] }] }],
  });
  assert(!/NaN|Infinity/.test(svg), svg);
});

Deno.test("plot: steps have an axis a panel, in tens; lines end with their values", () => {
  const steps = (count: number, last: number) => [{ x: 1, y: 9 }, { x: count, y: last }];
  const svg = plotSvg({
    title: "losses",
    x: "steps",
    panels: [
      {
        title: "align",
        series: [
          { name: "a", points: steps(2000, 1.2345), wide: true },
          { name: "b", points: steps(2000, 1.2346) },
        ],
      },
      { title: "distill", series: [{ name: "a", points: steps(40, 0.5) }] },
    ],
  });
  const texts = elements(svg, "text");
  const named = (text: string) => texts.filter((each) => each.text === text);
  assertEquals(named("steps").length, 2);
  assertEquals([named("2,000").length, named("40").length], [1, 1]);
  const paths = elements(svg, "path").map(({ attributes }) => attributes);
  assertEquals(paths.map((path) => path.get("class")), ["l0 wide", "l1", "l0"]);
  const ends = paths.map((path) => /L([\d.]+) [\d.]+$/.exec(path.get("d")!)![1]);
  assertEquals(ends, ["748.0", "748.0", "748.0"]);
  // Two lines that end together: their values do not cover each other.
  const [one, two] = named("1.23").map(({ attributes }) => Number(attributes.get("y")));
  assertEquals(Math.round(Math.abs(one - two)), 14);
  assertEquals(named("0.5").map(({ attributes }) => attributes.get("class")), ["k0"]);
});
