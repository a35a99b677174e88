/** Writing token files of Megatron and RWKV: PREFIX.bin and PREFIX.idx. */
import { AtomicFile } from "./atomic_file.ts";
import { HEADER_BYTES, MAGIC, TOKEN_TYPES, type TokenType } from "./binidx.ts";

/** The longest document: its length is an i32. */
const DOCUMENT_LIMIT = 2 ** 31 - 1;

/** Entries of the index that are written at a time. */
const BLOCK_ENTRIES = 1 << 16;

/** What was written. */
export interface WrittenTokens {
  readonly tokens: number;
  readonly documents: number;
}

/**
 * Writes documents, each as one sequence. They are written as they come; only their lengths are
 * held. Both files are complete before either is renamed.
 * @param type U16 holds the ids of vocabularies up to 65,536, I32 all others
 * @throws RangeError for a token that the type does not hold; FormatError where the system refuses.
 * Files that were there before then stay as they were.
 */
export function writeBinidx(
  prefix: string,
  documents: Iterable<ArrayLike<number>>,
  type: TokenType = "U16",
): WrittenTokens {
  using bin = new AtomicFile(`${prefix}.bin`);
  using idx = new AtomicFile(`${prefix}.idx`);
  const sizes: number[] = [];
  let tokens = 0;
  for (const document of documents) {
    if (document.length > DOCUMENT_LIMIT) {
      throw new RangeError(`document ${sizes.length} has ${document.length} tokens: too many`);
    }
    bin.write(encodeTokens(document, type, sizes.length));
    sizes.push(document.length);
    tokens += document.length;
  }
  writeIndex(idx, sizes, type);
  bin.finish();
  idx.finish();
  bin.commit();
  idx.commit();
  return { tokens, documents: sizes.length };
}

function encodeTokens(
  document: ArrayLike<number>,
  type: TokenType,
  index: number,
): Uint8Array<ArrayBuffer> {
  const { array } = TOKEN_TYPES[type];
  const out = new array(document.length);
  for (let i = 0; i < document.length; i++) {
    const token = document[i];
    const fits = Number.isInteger(token) && token >= 0;
    out[i] = out instanceof BigInt64Array ? BigInt(fits ? token : 0) : token;
    if (!fits || Number(out[i]) !== token) {
      throw new RangeError(`document ${index}, token ${i}: ${type} does not hold the id ${token}`);
    }
  }
  return new Uint8Array(out.buffer);
}

function writeIndex(file: AtomicFile, sizes: readonly number[], type: TokenType): void {
  const { code, array } = TOKEN_TYPES[type];
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  for (let i = 0; i < MAGIC.length; i++) header.setUint8(i, MAGIC.charCodeAt(i));
  header.setBigUint64(9, 1n, true);
  header.setUint8(17, code);
  header.setBigUint64(18, BigInt(sizes.length), true);
  header.setBigUint64(26, BigInt(sizes.length + 1), true);
  file.write(new Uint8Array(header.buffer));

  const inBlocks = (count: number, block: (first: number, length: number) => ArrayBuffer) => {
    for (let first = 0; first < count; first += BLOCK_ENTRIES) {
      file.write(new Uint8Array(block(first, Math.min(BLOCK_ENTRIES, count - first))));
    }
  };
  inBlocks(
    sizes.length,
    (first, length) => Int32Array.from({ length }, (_, i) => sizes[first + i]).buffer,
  );
  let pointer = 0;
  inBlocks(sizes.length, (first, length) =>
    BigInt64Array.from({ length }, (_, i) => {
      const here = BigInt(pointer);
      pointer += sizes[first + i] * array.BYTES_PER_ELEMENT;
      return here;
    }).buffer);
  inBlocks(
    sizes.length + 1,
    (first, length) => BigInt64Array.from({ length }, (_, i) => BigInt(first + i)).buffer,
  );
}
