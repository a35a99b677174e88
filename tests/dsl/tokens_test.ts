import { assertEquals, assertThrows } from "@std/assert";
import { RecipeError, type TokenCount, tokens } from "../../mod.ts";

Deno.test("tokens: thousands, millions, billions, exactly", () => {
  const cases: readonly (readonly [TokenCount, number])[] = [
    ["2M", 2_000_000],
    ["1.5M", 1_500_000],
    ["1.1M", 1_100_000],
    ["0.3M", 300_000],
    ["2.000001M", 2_000_001],
    ["300K", 300_000],
    ["0.5K", 500],
    ["1.50K", 1_500],
    ["12B", 12_000_000_000],
    ["4096", 4096],
    ["4096.0", 4096],
    [4096, 4096],
  ];
  for (const [count, expected] of cases) assertEquals(tokens(count), expected, String(count));
});

Deno.test("tokens: nothing else", () => {
  const wrong = ["2Q", "M", "", "-1M", "1e3", "1 M", "1.0005K", "1.5", "0", "2m", "99999999B"];
  for (const count of [...wrong, 0, -3, 1.5, NaN, Infinity, undefined, null, {}]) {
    assertThrows(
      () => tokens(count as TokenCount),
      RecipeError,
      "expected a whole number of tokens",
    );
  }
});
