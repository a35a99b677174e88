/** What the index of a binidx pair begins with, and the types of tokens that it knows. */

import { FormatError } from "../error.ts";
import type { RangeFile } from "../range_file.ts";

/** Integer types by the names that the writer takes, with their codes in the index. */
export const TOKEN_TYPES = Object.freeze(
  {
    U8: { code: 1, array: Uint8Array },
    I8: { code: 2, array: Int8Array },
    I16: { code: 3, array: Int16Array },
    I32: { code: 4, array: Int32Array },
    I64: { code: 5, array: BigInt64Array },
    U16: { code: 8, array: Uint16Array },
  } as const,
);

/** A type of tokens. */
export type TokenType = keyof typeof TOKEN_TYPES;

/**
 * The type for the ids of a vocabulary: Megatron's rule (`DType.optimal_dtype`), which leaves some
 * room at the end of u16.
 */
export const tokenTypeFor = (vocabularySize: number): TokenType =>
  vocabularySize < 65_500 ? "U16" : "I32";

/** What the index begins with. */
export const MAGIC = "MMIDIDX\0\0";

/** Bytes before the index's arrays: magic, version, type, two counts. */
export const HEADER_BYTES = 9 + 8 + 1 + 8 + 8;

/** What the header says. */
export interface Header {
  readonly type: TokenType;
  readonly sequences: number;
  readonly documents: number;
}

/**
 * The header, checked against the size of the index: that caps every count in it.
 * @throws FormatError for what is wrong with it.
 */
export function readHeader(index: RangeFile): Header {
  const bad = (at: string, expected: string, found: string, advice: string): never => {
    throw new FormatError({ file: index.path, at, expected, found, advice });
  };
  const wrongFile = "this is no index of a binidx pair";
  if (index.bytes < HEADER_BYTES) {
    bad("header", `${HEADER_BYTES} bytes`, `${index.bytes}`, wrongFile);
  }
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  index.read(0, header);
  const magic = String.fromCharCode(...new Uint8Array(header.buffer, 0, MAGIC.length));
  if (magic !== MAGIC) bad("magic", JSON.stringify(MAGIC), JSON.stringify(magic), wrongFile);
  const version = header.getBigUint64(9, true);
  if (version !== 1n) bad("version", "1", `${version}`, "make it with a writer of version 1");
  const code = header.getUint8(17);
  const types = Object.keys(TOKEN_TYPES) as TokenType[];
  const type = types.find((name) => TOKEN_TYPES[name].code === code);
  if (type === undefined) {
    const found = code === 6 || code === 7 ? `${code}, a floating-point type` : `${code}`;
    const codes = types.map((name) => `${TOKEN_TYPES[name].code} (${name})`);
    return bad("type", `one of ${codes.join(", ")}`, found, "tokens are integers");
  }
  const sequences = header.getBigUint64(18, true);
  const entries = header.getBigUint64(26, true);
  if (entries === 0n) bad("documents", "at least their end", "0 entries", wrongFile);
  const expected = BigInt(HEADER_BYTES) + 12n * sequences + 8n * entries;
  if (expected !== BigInt(index.bytes)) {
    bad(
      "counts",
      `${expected} bytes for ${sequences} sequences and ${entries} entries of documents`,
      `${index.bytes}`,
      "the index is cut off or damaged: make it again",
    );
  }
  return { type, sequences: Number(sequences), documents: Number(entries) - 1 };
}
