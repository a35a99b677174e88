/** Writing token files of Megatron and RWKV: PREFIX.bin and PREFIX.idx. */

import { AtomicFile } from "../atomic_file.ts";
import { HEADER_BYTES, MAGIC, TOKEN_TYPES, type TokenType } from "./header.ts";

/** The longest document: its length is an i32. */
const DOCUMENT_LIMIT = 2 ** 31 - 1;

/** Lengths of documents in one block, where they are held as a list. */
const BLOCK_DOCUMENTS = 1 << 16;

/** What was written. */
export interface WrittenTokens {
  readonly tokens: number;
  readonly documents: number;
}

/**
 * Writes documents, each as one sequence. They are written as they come; only their lengths are
 * held. Both files are complete before either is renamed.
 * @param type see `tokenTypeFor`
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
  const lengths: number[] = [];
  let tokens = 0;
  for (const document of documents) {
    if (document.length > DOCUMENT_LIMIT) {
      throw new RangeError(`document ${lengths.length} has ${document.length} tokens: too many`);
    }
    bin.write(new Uint8Array(encodeTokens(document, type, `document ${lengths.length}`).buffer));
    lengths.push(document.length);
    tokens += document.length;
  }
  function* blocks() {
    for (let first = 0; first < lengths.length; first += BLOCK_DOCUMENTS) {
      yield Int32Array.from(lengths.slice(first, first + BLOCK_DOCUMENTS));
    }
  }
  for (const bytes of indexBytes(blocks, type)) idx.write(bytes);
  bin.finish();
  idx.finish();
  bin.commit();
  idx.commit();
  return { tokens, documents: lengths.length };
}

/**
 * The ids of a document in a type.
 * @param where what messages call the document
 * @throws RangeError for an id that the type does not hold.
 */
export function encodeTokens(document: ArrayLike<number>, type: TokenType, where: string) {
  const { array } = TOKEN_TYPES[type];
  const out = new array(document.length);
  for (let i = 0; i < document.length; i++) {
    const token = document[i];
    const fits = Number.isInteger(token) && token >= 0;
    out[i] = out instanceof BigInt64Array ? BigInt(fits ? token : 0) : token;
    if (!fits || Number(out[i]) !== token) {
      throw new RangeError(`${where}, token ${i}: ${type} does not hold the id ${token}`);
    }
  }
  return out;
}

/** Lengths of all documents, in blocks; asked for more than once. */
export type LengthBlocks = () => Iterable<Int32Array>;

/**
 * The index, block by block: a document is a sequence of its tokens; one without any has no
 * sequence, as Megatron's builder has it.
 */
export function* indexBytes(
  lengths: LengthBlocks,
  type: TokenType,
): Generator<Uint8Array<ArrayBuffer>> {
  const { code, array } = TOKEN_TYPES[type];
  let documents = 0;
  let sequences = 0;
  for (const block of lengths()) {
    documents += block.length;
    for (const length of block) if (length > 0) sequences++;
  }
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  for (let i = 0; i < MAGIC.length; i++) header.setUint8(i, MAGIC.charCodeAt(i));
  header.setBigUint64(9, 1n, true);
  header.setUint8(17, code);
  header.setBigUint64(18, BigInt(sequences), true);
  header.setBigUint64(26, BigInt(documents + 1), true);
  yield new Uint8Array(header.buffer);

  const present = (block: Int32Array) => block.filter((length) => length > 0);
  for (const block of lengths()) yield new Uint8Array(present(block).buffer);
  let pointer = 0;
  for (const block of lengths()) {
    const pointers = BigInt64Array.from(present(block), (length) => {
      const here = BigInt(pointer);
      pointer += length * array.BYTES_PER_ELEMENT;
      return here;
    });
    yield new Uint8Array(pointers.buffer);
  }
  let end = 0;
  yield new Uint8Array(BigInt64Array.of(0n).buffer);
  for (const block of lengths()) {
    const ends = BigInt64Array.from(block, (length) => BigInt(length > 0 ? ++end : end));
    yield new Uint8Array(ends.buffer);
  }
}
