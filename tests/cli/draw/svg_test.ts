import { assert, assertEquals } from "@std/assert";
import { legend, number, shortName } from "../../../cli/draw/svg.ts";

Deno.test("svg: numbers as they stand on an axis", () => {
  assertEquals([0, 0.05, 1.5, 999, 10_000, 1e6, 1e-5].map(number), [
    ...["0", "0.05", "1.5", "999", "10,000", "1,000,000", "0.00001"],
  ]);
});

Deno.test("svg: names are cut, of paths the beginning goes", () => {
  assertEquals(shortName("quickstart", 10), "quickstart");
  assertEquals(shortName("quickstarts", 10), "quickstar…");
  assertEquals(shortName("/a/long/way/to/it", 10), "…way/to/it");
  assertEquals(shortName("😀😀😀", 2), "😀…");
});

Deno.test("svg: a legend stands in a row without covering itself", () => {
  const lefts = legend(["attention", "RAD-RWKV6", `/a/${"very/".repeat(40)}long/path`], 64)
    .map((item) => Number(/<rect class="k\d" x="([\d.]+)"/.exec(item)![1]));
  assertEquals(lefts[0], 64);
  assert(lefts[1] >= 64 + 22 + 9 * 6 && lefts[2] > lefts[1] && lefts[2] < 400, `${lefts}`);
});
