import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FormatError } from "../../../formats/error.ts";
import { openRecords } from "../../../train/by_layer/records.ts";
import { madeWeights } from "../../../train/weights.ts";
import { temporaryFolder } from "../../support/checkpoint.ts";

Deno.test("records: each at its place, in any order, and there again", () => {
  using temporary = temporaryFolder();
  const path = join(temporary.folder, "stream.f32");
  const record = (first: number) => Float32Array.of(first, NaN, -0);
  {
    using records = openRecords(path, 3);
    records.write(2, record(2));
    records.write(0, record(0));
    records.write(2, record(5));
    records.sync();
  }
  using again = openRecords(path, 3);
  const read = (index: number) => {
    const into = new Float32Array(3);
    again.read(index, into);
    return into;
  };
  assertEquals([read(0), read(1), read(2)], [record(0), new Float32Array(3), record(5)]);
  assertThrows(
    () => read(3),
    FormatError,
    "stream.f32: record 3: expected 12 bytes, found the end",
  );
  assertThrows(() => again.write(0, new Float32Array(2)), RangeError, "2 of 3");
});

Deno.test("records: what the system refuses is the file's problem", () => {
  using temporary = temporaryFolder();
  assertThrows(() => openRecords(temporary.folder, 3), FormatError, "found a folder");
});

Deno.test("made weights: a tensor is made once while it is read", () => {
  const made: string[] = [];
  const weights = madeWeights((name) => {
    made.push(name);
    return Float32Array.from({ length: 5 }, (_, i) => name.length + i);
  });
  const into = new Float32Array(2);
  const read = (name: string, start: number) => {
    weights.readRangeF32(name, start, into);
    return [...into];
  };
  assertEquals([read("ab", 0), read("ab", 3), read("c", 1)], [[2, 3], [5, 6], [2, 3]]);
  assertEquals(made, ["ab", "c"]);
});
