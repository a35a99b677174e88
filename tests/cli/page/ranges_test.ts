import { assertEquals } from "@std/assert";
import { parseRange } from "../../../cli/page/ranges.ts";

const CASES: readonly (readonly [header: string | null, found: ReturnType<typeof parseRange>])[] = [
  [null, undefined],
  ["bytes=0-9", { begin: 0, end: 10 }],
  ["bytes=10-10", { begin: 10, end: 11 }],
  ["bytes=90-", { begin: 90, end: 100 }],
  ["bytes=90-1000000", { begin: 90, end: 100 }],
  ["bytes=-10", { begin: 90, end: 100 }],
  ["bytes=-1000", { begin: 0, end: 100 }],
  ["Bytes=1-2", { begin: 1, end: 3 }],
  ["bytes=100-", "unsatisfiable"],
  ["bytes=100-200", "unsatisfiable"],
  ["bytes=-0", "unsatisfiable"],
  // What a server may ignore: other units, lists, what is no range.
  ["items=0-9", undefined],
  ["bytes=0-1,3-4", undefined],
  ["bytes=9-0", undefined],
  ["bytes=-", undefined],
  ["bytes=a-b", undefined],
  ["bytes=0x1-2", undefined],
  ["", undefined],
];

Deno.test("ranges: of a file of 100 bytes", () => {
  const found = CASES.map(([header]) => [header, parseRange(header, 100)]);
  assertEquals(found, CASES.map((each) => [...each]));
});

Deno.test("ranges: of an empty file", () => {
  assertEquals(parseRange("bytes=0-", 0), "unsatisfiable");
  assertEquals(parseRange("bytes=-5", 0), "unsatisfiable");
  assertEquals(parseRange(null, 0), undefined);
});
