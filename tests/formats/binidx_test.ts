import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import {
  HEADER_BYTES,
  TOKEN_TYPES,
  type TokenType,
  tokenTypeFor,
} from "../../formats/binidx/header.ts";
import { openBinidx } from "../../formats/binidx/token_file.ts";
import { writeBinidx } from "../../formats/binidx/write.ts";
import { filesIn, fixturePath, messageOf, withFolder } from "./support.ts";

/** The fixtures' names for the types. */
const NAMES: Readonly<Record<TokenType, string>> = {
  U8: "uint8",
  I8: "int8",
  I16: "int16",
  I32: "int32",
  I64: "int64",
  U16: "uint16",
};
const TYPES = Object.keys(TOKEN_TYPES) as TokenType[];
const prefixOf = (type: TokenType) => fixturePath("binidx", NAMES[type]);

for (const type of TYPES) {
  Deno.test(`reads ${type} as Megatron lays it out`, () => {
    using file = openBinidx(prefixOf(type));
    assertEquals([file.type, file.length, file.documents], [type, 8, 2]);
    assertEquals([...file.read(0, 8)], [1, 2, 3, 100, 7, 5, 6, 120]);
    // Across sequences and documents.
    assertEquals([...file.read(3, 3)], [100, 7, 5]);
    assertEquals([...file.read(8, 0)], []);
    // The second document has two sequences.
    assertEquals(file.document(0), { start: 0, end: 4 });
    assertEquals(file.document(1), { start: 4, end: 8 });
  });

  Deno.test(`writes ${type} as Megatron lays it out`, () => {
    withFolder((folder) => {
      const prefix = join(folder, "tokens");
      const written = writeBinidx(prefix, [[1, 2, 3, 100], [7], [5, 6, 120]], type);
      assertEquals(written, { tokens: 8, documents: 3 });
      assertEquals(filesIn(folder), ["tokens.bin", "tokens.idx"]);
      const read = (path: string) => Deno.readFileSync(path);
      assertEquals(read(`${prefix}.bin`), read(`${prefixOf(type)}.bin`));
      // The fixture puts the last two sequences into one document; ours has three.
      const expected = read(`${prefixOf(type)}.idx`);
      const actual = read(`${prefix}.idx`);
      const documents = HEADER_BYTES + 12 * 3;
      assertEquals(actual.slice(0, 26), expected.slice(0, 26));
      assertEquals(actual.slice(HEADER_BYTES, documents), expected.slice(HEADER_BYTES, documents));
      const starts = new BigInt64Array(actual.slice(documents).buffer);
      assertEquals([...starts], [0n, 1n, 2n, 3n]);
    });
  });
}

Deno.test("ranges that are not there", () => {
  using file = openBinidx(prefixOf("U16"));
  for (const [start, count] of [[-1, 1], [7, 2], [9, 0], [0, -1], [NaN, 1]]) {
    assertThrows(() => file.read(start, count), RangeError, "of 8");
  }
  assertThrows(() => file.document(2), RangeError, "no document 2 among 2");
  assertThrows(() => file.document(-1), RangeError);
});

Deno.test("many documents, empty ones too, and none", () => {
  withFolder((folder) => {
    const prefix = join(folder, "many");
    const lengths = Array.from({ length: 70_000 }, (_, i) => i % 4);
    function* documents() {
      let next = 0;
      for (const length of lengths) yield Int32Array.from({ length }, () => next++ % 65536);
    }
    const { tokens } = writeBinidx(prefix, documents());
    assertEquals(tokens, 105_000);
    using file = openBinidx(prefix);
    assertEquals(file.documents, lengths.length);
    assertEquals(file.document(69_999), { start: 104_997, end: 105_000 });
    assertEquals([...file.read(65_534, 4)], [65534, 65535, 0, 1]);

    // Documents without tokens have no sequence, as Megatron's builder has it.
    const index = new DataView(Deno.readFileSync(`${prefix}.idx`).buffer);
    assertEquals(index.getBigUint64(18, true), 52_500n);
    assertEquals(file.document(69_996), { start: 104_994, end: 104_994 });
    file.check();

    writeBinidx(prefix, []);
    using empty = openBinidx(prefix);
    assertEquals([empty.length, empty.documents], [0, 0]);
  });
});

Deno.test("tokens that are no ids are refused, in writing and in reading", () => {
  withFolder((folder) => {
    const prefix = join(folder, "tokens");
    writeBinidx(prefix, [[1]]);
    const before = filesIn(folder).map((name) => Deno.readFileSync(join(folder, name)));
    for (const [type, token] of [["U16", 65536], ["U8", -1], ["I64", 1.5], ["I8", 128]] as const) {
      const write = () => writeBinidx(prefix, [[0], [0, token]], type);
      assertThrows(write, RangeError, `document 1, token 1: ${type} does not hold the id ${token}`);
    }
    assertEquals(filesIn(folder).map((name) => Deno.readFileSync(join(folder, name))), before);

    writeBinidx(prefix, [[1, 2, 3]], "I32");
    Deno.writeFileSync(`${prefix}.bin`, new Uint8Array(Int32Array.of(1, -2, 3).buffer));
    using file = openBinidx(prefix);
    assertStringIncludes(messageOf(() => file.read(0, 3)), "token 1: expected an id from 0");
    assertEquals([...file.read(2, 1)], [3]);
  });
});

/** The message with which the fixture is refused after a change to its index. */
function refusal(change: (index: DataView) => void | Uint8Array): string {
  let message = "";
  withFolder((folder) => {
    const prefix = join(folder, "bad");
    const index = Deno.readFileSync(`${prefixOf("U16")}.idx`);
    Deno.writeFileSync(`${prefix}.idx`, change(new DataView(index.buffer)) ?? index);
    Deno.copyFileSync(`${prefixOf("U16")}.bin`, `${prefix}.bin`);
    message = messageOf(() => {
      using file = openBinidx(prefix);
      file.check();
    });
    assertStringIncludes(message, prefix);
  });
  return message;
}

const SIZES = HEADER_BYTES;
const POINTERS = SIZES + 4 * 3;
const DOCUMENTS = POINTERS + 8 * 3;

for (
  const [what, change, expected] of [
    ["that is empty", () => new Uint8Array(0), "header: expected 34 bytes, found 0"],
    ["with another magic", (i) => i.setUint8(0, 0x58), 'magic: expected "MMIDIDX'],
    ["of version 2", (i) => i.setUint8(9, 2), "version: expected 1, found 2"],
    ["of floats", (i) => i.setUint8(17, 6), "found 6, a floating-point type; tokens are integers"],
    ["of an unknown type", (i) => i.setUint8(17, 9), "type: expected one of 1 (U8), 2 (I8)"],
    ["of 2^60 sequences", (i) => i.setBigUint64(18, 1n << 60n, true), "counts: expected 138350"],
    ["of 2^61 documents", (i) => i.setBigUint64(26, 1n << 61n, true), "counts: expected 184467"],
    ["without an end of documents", (i) => i.setBigUint64(26, 0n, true), "documents: expected at"],
    ["that is cut off", (i) => new Uint8Array(i.buffer, 0, 90), "the index is cut off or damaged"],
    ["with a negative length", (i) => i.setInt32(SIZES, -4, true), "sequence 0: expected a length"],
    ["with a gap", (i) => i.setBigInt64(POINTERS + 8, 10n, true), "sequence 1: expected byte 8"],
    [
      "with a late first document",
      (i) => i.setBigInt64(DOCUMENTS, 1n, true),
      "document 0: expected sequence 0, found 1",
    ],
    [
      "with descending documents",
      (i) => i.setBigInt64(DOCUMENTS + 8, -1n, true),
      "document 1: exp",
    ],
    [
      "with too many documents",
      (i) => i.setBigInt64(DOCUMENTS + 16, 4n, true),
      "sequence 3, found 4",
    ],
    ["with a document too far", (i) => i.setBigInt64(DOCUMENTS + 8, 4n, true), "from 0 to 3"],
    ["that begins late", (i) => i.setBigInt64(POINTERS, 2n, true), "sequence 0: expected byte 0"],
    [
      "that ends within a token",
      (i) => i.setBigInt64(POINTERS + 16, 11n, true),
      "sequences: expected an end at a multiple of 2 bytes, found 17",
    ],
    ["that ends early", (i) => i.setBigInt64(DOCUMENTS + 16, 2n, true), "their end at sequence 3"],
    [
      "of other tokens",
      (i) => {
        i.setInt32(SIZES + 8, 4, true);
      },
      "expected 18 bytes, 9 tokens of U16 as the index says, found 16",
    ],
  ] as ReadonlyArray<readonly [string, (index: DataView) => void | Uint8Array, string]>
) {
  Deno.test(`refuses an index ${what}`, () => assertStringIncludes(refusal(change), expected));
}

Deno.test("documents that the index places elsewhere are refused where they are asked for", () => {
  withFolder((folder) => {
    const prefix = join(folder, "bad");
    Deno.copyFileSync(`${prefixOf("U16")}.bin`, `${prefix}.bin`);
    const indexWith = (change: (index: DataView) => void) => {
      const index = Deno.readFileSync(`${prefixOf("U16")}.idx`);
      change(new DataView(index.buffer));
      Deno.writeFileSync(`${prefix}.idx`, index);
      return openBinidx(prefix);
    };
    for (
      const [change, expected] of [
        [
          (i: DataView) => i.setBigInt64(DOCUMENTS + 8, 4n, true),
          "a sequence from 0 to 3, found 4",
        ],
        [
          (i: DataView) => i.setBigInt64(POINTERS + 8, 1n, true),
          "sequence 1: expected the byte of",
        ],
        [(i: DataView) => i.setBigInt64(POINTERS + 8, 99n, true), "the byte of a token, found 99"],
      ] as const
    ) {
      using file = indexWith(change);
      assertStringIncludes(messageOf(() => file.document(0)), expected);
    }
  });
});

Deno.test("the type for a vocabulary is the one that Megatron takes", () => {
  assertEquals([256, 65_499, 65_500, 151_936].map(tokenTypeFor), ["U16", "U16", "I32", "I32"]);
});

Deno.test("missing files", () => {
  withFolder((folder) => {
    const prefix = join(folder, "tokens");
    assertStringIncludes(messageOf(() => openBinidx(prefix)), "tokens.idx: expected a file");
    Deno.copyFileSync(`${prefixOf("U16")}.idx`, `${prefix}.idx`);
    assertStringIncludes(messageOf(() => openBinidx(prefix)), "tokens.bin: expected a file");
  });
});
