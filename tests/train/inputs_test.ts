import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { inputDigest } from "../../train/inputs.ts";
import { temporaryFolder } from "../support/checkpoint.ts";

/** The digests of a file of some bytes, and of the same with the bytes at some places changed. */
function digests(bytes: number, places: readonly number[]): string[] {
  using temporary = temporaryFolder();
  const path = join(temporary.folder, "file");
  const content = new Uint8Array(bytes);
  const of = (changed: readonly number[]) => {
    for (const place of changed) content[place] ^= 1;
    Deno.writeFileSync(path, content);
    for (const place of changed) content[place] ^= 1;
    return inputDigest(path);
  };
  return [of([]), ...places.map((place) => of([place]))];
}

Deno.test("inputs: every byte of a file up to 16 MiB counts", () => {
  for (const bytes of [1, 65_536, 65_537, 200_000]) {
    const [as, ...others] = digests(bytes, [0, bytes >> 1, bytes - 1]);
    for (const other of others) assertNotEquals(other, as, `${bytes}`);
  }
  assertEquals(digests(0, []), digests(0, []));
  assertNotEquals(digests(8, []), digests(9, []));
});

Deno.test("inputs: of a larger file 256 pieces count, the first bytes and the last part among them", () => {
  const bytes = 1 << 25; // Pieces of 64 KiB every 128 KiB.
  const [as, first, within, between, late] = digests(bytes, [
    0,
    (1 << 17) + 65_535,
    (1 << 17) + 65_536,
    bytes - (1 << 17),
  ]);
  assertNotEquals(first, as);
  assertNotEquals(within, as);
  assertEquals(between, as);
  assertNotEquals(late, as);
});
