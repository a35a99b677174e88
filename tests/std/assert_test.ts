import * as a from "@std/assert";

/** The message that the assertion fails with; throws where it does not fail. */
function failureOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    if (error instanceof a.AssertionError) return error.message;
    throw error;
  }
  throw new Error(`no assertion failed in ${fn}`);
}

function expectIncludes(text: string, part: string): void {
  if (!text.includes(part)) throw new Error(`${JSON.stringify(text)} lacks ${part}`);
}

Deno.test("assert takes truthy values and says its message", () => {
  a.assert(1);
  expectIncludes(failureOf(() => a.assert(0, "zero")), "zero");
});

Deno.test("assertEquals compares in depth", () => {
  const cycle = () => {
    const value: Record<string, unknown> = { n: 1 };
    value.self = value;
    return value;
  };
  const pairs: Array<[unknown, unknown]> = [
    [{ a: [1, { b: NaN }] }, { a: [1, { b: NaN }] }],
    [0, -0],
    [Object.create(null), {}],
    [new Float32Array([1, NaN]), new Float32Array([1, NaN])],
    [new BigInt64Array([1n]), new BigInt64Array([1n])],
    [new Map([[{ k: 1 }, [2]]]), new Map([[{ k: 1 }, [2]]])],
    [new Set([[1], [2]]), new Set([[2], [1]])],
    [new Date(5), new Date(5)],
    [/a/g, /a/g],
    [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 2]).buffer],
    [cycle(), cycle()],
    [new Error("x"), new Error("x")],
  ];
  for (const [actual, expected] of pairs) a.assertEquals(actual, expected);
});

Deno.test("assertEquals tells what differs", () => {
  const pairs: Array<[unknown, unknown]> = [
    [1, 2],
    [1, "1"],
    [null, undefined],
    [[1], [1, 2]],
    [{ a: undefined }, {}],
    [new Uint8Array([1]), new Int8Array([1])],
    [new Uint8Array([1]), new Uint8Array([2])],
    [new Map([[1, 2]]), new Map([[1, 3]])],
    [new Set([1]), new Set([2])],
    [new Date(5), new Date(6)],
    [new Error("x"), new Error("y")],
    [new (class A {})(), new (class B {})()],
  ];
  for (const [actual, expected] of pairs) {
    expectIncludes(failureOf(() => a.assertEquals(actual, expected)), "Values are not equal");
    a.assertNotEquals(actual, expected);
  }
  const message = failureOf(() => a.assertEquals({ name: "left" }, { name: "right" }, "pair"));
  for (const part of ["pair", "left", "right"]) expectIncludes(message, part);
  expectIncludes(failureOf(() => a.assertNotEquals([1], [1])), "not to be");
});

Deno.test("comparisons of numbers", () => {
  a.assertAlmostEquals(1e9, 1e9 + 50);
  a.assertAlmostEquals(0.1 + 0.2, 0.3, 1e-9);
  a.assertAlmostEquals(Infinity, Infinity);
  expectIncludes(failureOf(() => a.assertAlmostEquals(1, 1.1, 0.01)), "delta");
  failureOf(() => a.assertAlmostEquals(NaN, 1, 10));
  a.assertGreater(2, 1);
  a.assertLess("a", "b");
  expectIncludes(failureOf(() => a.assertGreater(1, 1)), "1 > 1");
  expectIncludes(failureOf(() => a.assertLess(1, 1)), "1 < 1");
});

Deno.test("assertThrows returns the error and checks class and message", () => {
  const raise = () => {
    throw new RangeError("out of range");
  };
  const error: RangeError = a.assertThrows(raise, RangeError, "out of");
  a.assertEquals(error.message, "out of range");
  a.assert(a.assertThrows(raise) instanceof RangeError);
  expectIncludes(
    failureOf(() => a.assertThrows(raise, TypeError)),
    "TypeError, but was RangeError",
  );
  expectIncludes(failureOf(() => a.assertThrows(raise, RangeError, "nope")), "nope");
  expectIncludes(failureOf(() => a.assertThrows(() => 1, "why")), "why");
});

Deno.test("assertRejects resolves to the error and checks class and message", async () => {
  const raise = () => Promise.reject(new RangeError("out of range"));
  const error: RangeError = await a.assertRejects(raise, RangeError, "out of");
  a.assertEquals(error.message, "out of range");
  for (
    const wrong of [
      () => a.assertRejects(raise, TypeError),
      () => a.assertRejects(raise, RangeError, "nope"),
      () => a.assertRejects(() => Promise.resolve(1)),
      () =>
        a.assertRejects(() => {
          throw new Error("at once");
        }),
    ]
  ) {
    const error = await wrong().then(() => undefined, (e: unknown) => e);
    a.assert(error instanceof a.AssertionError);
  }
});

Deno.test("the remaining assertions", () => {
  a.assertMatch("abc", /b/g);
  expectIncludes(failureOf(() => a.assertMatch("abc", /x/)), "to match: /x/");
  a.assertStringIncludes("abc", "bc");
  expectIncludes(failureOf(() => a.assertStringIncludes("abc", "x")), "to contain");
  expectIncludes(failureOf(() => a.fail("bad")), "bad");
});
