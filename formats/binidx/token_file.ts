/**
 * Token files of Megatron and RWKV: PREFIX.idx says where each sequence lies in PREFIX.bin, which
 * holds nothing but tokens. Read by ranges: neither file is ever held as a whole.
 */

import { FormatError } from "../error.ts";
import { RangeFile } from "../range_file.ts";
import { HEADER_BYTES, readHeader, TOKEN_TYPES, type TokenType } from "./header.ts";

/** Entries of the index that are checked at a time. */
const BLOCK_ENTRIES = 1 << 16;

/** Tokens of 8 bytes that are converted at a time. */
const BLOCK_TOKENS = 1 << 18;

/** An open pair of files. Close it, or dispose it. */
export class TokenFile implements Disposable {
  /** Tokens in all documents together. */
  readonly length: number;
  readonly documents: number;
  readonly type: TokenType;
  readonly #index: RangeFile;
  readonly #tokens: RangeFile;
  readonly #sequences: number;

  /**
   * Opens PREFIX.idx and PREFIX.bin. What is read is the header and both ends of the index, however
   * large the files are: they decide what there is to sample. `check` looks at all of the index.
   * @throws FormatError for what is wrong with either.
   */
  constructor(readonly prefix: string) {
    using opened = new DisposableStack();
    this.#index = opened.use(new RangeFile(`${prefix}.idx`));
    this.#tokens = opened.use(new RangeFile(`${prefix}.bin`));
    const { type, sequences, documents } = readHeader(this.#index);
    this.type = type;
    this.#sequences = sequences;
    this.documents = documents;
    this.length = this.#checkEnds();
    opened.move();
  }

  /**
   * Goes through the whole index, block by block; the tokens are not read.
   * @throws FormatError for the first entry that is wrong.
   */
  check(): void {
    this.#checkSequences();
    this.#checkDocuments();
  }

  /**
   * Tokens from `start` on, across documents.
   * @throws RangeError where they reach beyond the end; FormatError for a negative token or one that
   * i32 does not hold.
   */
  read(start: number, count: number): Int32Array {
    if (!(start >= 0 && count >= 0 && start + count <= this.length)) {
      throw new RangeError(`${this.prefix}: no ${count} tokens at ${start} of ${this.length}`);
    }
    const { array } = TOKEN_TYPES[this.type];
    const out = new Int32Array(count);
    for (let at = 0; at < count; at += BLOCK_TOKENS) {
      const block = new array(Math.min(BLOCK_TOKENS, count - at));
      this.#tokens.read((start + at) * array.BYTES_PER_ELEMENT, block);
      for (let i = 0; i < block.length; i++) {
        const token = Number(block[i]);
        if (token < 0 || token > 0x7fffffff) this.#badToken(start + at + i, block[i]);
        out[at + i] = token;
      }
    }
    return out;
  }

  /**
   * Where a document begins, and where the next one does.
   * @throws RangeError where there is no such document; FormatError where the index places it
   * outside of the tokens.
   */
  document(index: number): { readonly start: number; readonly end: number } {
    if (!(index >= 0 && index < this.documents)) {
      throw new RangeError(`${this.prefix}: no document ${index} among ${this.documents}`);
    }
    const bounds = this.#documentEntries(index, 2);
    const [start, end] = [...bounds].map((sequence) => this.#sequenceStart(Number(sequence)));
    if (end < start) this.#bad(`document ${index}`, `an end from token ${start}`, end);
    return { start, end };
  }

  /** Closes both files. */
  close(): void {
    this.#index[Symbol.dispose]();
    this.#tokens[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The token at which a sequence begins; the end of the last one is where the next would. */
  #sequenceStart(sequence: number): number {
    if (sequence === this.#sequences) return this.length;
    if (!(sequence >= 0 && sequence < this.#sequences)) {
      this.#bad("documents", `a sequence from 0 to ${this.#sequences}`, sequence);
    }
    const start = this.#pointer(sequence) / TOKEN_TYPES[this.type].array.BYTES_PER_ELEMENT;
    if (Number.isInteger(start) && start >= 0 && start <= this.length) return start;
    return this.#bad(`sequence ${sequence}`, "the byte of a token", this.#pointer(sequence));
  }

  #pointer(sequence: number): number {
    const pointer = new BigInt64Array(1);
    this.#index.read(HEADER_BYTES + 4 * this.#sequences + 8 * sequence, pointer);
    return Number(pointer[0]);
  }

  #documentEntries(first: number, count: number): BigInt64Array {
    const entries = new BigInt64Array(count);
    this.#index.read(HEADER_BYTES + 12 * this.#sequences + 8 * first, entries);
    return entries;
  }

  /**
   * The first sequence and document must begin at 0; the last ones must end where the tokens and the
   * sequences do. Returns the tokens.
   */
  #checkEnds(): number {
    const size = TOKEN_TYPES[this.type].array.BYTES_PER_ELEMENT;
    let bytes = 0;
    if (this.#sequences > 0) {
      const last = this.#sequences - 1;
      const length = new Int32Array(1);
      this.#index.read(HEADER_BYTES + 4 * last, length);
      if (length[0] < 0) this.#bad(`sequence ${last}`, "a length of 0 or more", length[0]);
      const first = this.#pointer(0);
      if (first !== 0) this.#bad("sequence 0", "byte 0, where the tokens begin", `byte ${first}`);
      bytes = this.#pointer(last) + length[0] * size;
    }
    if (bytes % size !== 0) this.#bad("sequences", `an end at a multiple of ${size} bytes`, bytes);
    if (bytes !== this.#tokens.bytes) {
      throw new FormatError({
        file: this.#tokens.path,
        expected: `${bytes} bytes, ${bytes / size} tokens of ${this.type} as the index says`,
        found: `${this.#tokens.bytes}`,
        advice: "index and tokens are not of one piece: make them again",
      });
    }
    const [begin] = this.#documentEntries(0, 1);
    if (begin !== 0n) this.#bad("document 0", "sequence 0", begin);
    const [end] = this.#documentEntries(this.documents, 1);
    if (end !== BigInt(this.#sequences)) {
      this.#bad("documents", `their end at sequence ${this.#sequences}`, end);
    }
    return bytes / size;
  }

  /** Sequences must follow each other from the first byte on. */
  #checkSequences(): void {
    const size = TOKEN_TYPES[this.type].array.BYTES_PER_ELEMENT;
    let tokens = 0;
    for (let first = 0; first < this.#sequences; first += BLOCK_ENTRIES) {
      const count = Math.min(BLOCK_ENTRIES, this.#sequences - first);
      const sizes = new Int32Array(count);
      const pointers = new BigInt64Array(count);
      this.#index.read(HEADER_BYTES + 4 * first, sizes);
      this.#index.read(HEADER_BYTES + 4 * this.#sequences + 8 * first, pointers);
      for (let i = 0; i < count; i++) {
        if (sizes[i] < 0) this.#bad(`sequence ${first + i}`, "a length of 0 or more", sizes[i]);
        if (pointers[i] !== BigInt(tokens * size)) {
          this.#bad(
            `sequence ${first + i}`,
            `byte ${tokens * size}, where the one before ends`,
            `byte ${pointers[i]}`,
          );
        }
        tokens += sizes[i];
      }
    }
  }

  /** Documents must begin at ascending sequences. */
  #checkDocuments(): void {
    let before = 0n;
    const total = this.documents + 1;
    for (let first = 0; first < total; first += BLOCK_ENTRIES) {
      const entries = this.#documentEntries(first, Math.min(BLOCK_ENTRIES, total - first));
      for (const [i, entry] of entries.entries()) {
        if (entry < before || entry > BigInt(this.#sequences)) {
          const expected = `a sequence from ${before} to ${this.#sequences}`;
          this.#bad(`document ${first + i}`, expected, entry);
        }
        before = entry;
      }
    }
  }

  #bad(at: string, expected: string, found: number | bigint | string): never {
    throw new FormatError({
      file: this.#index.path,
      at,
      expected,
      found: String(found),
      advice: "the index is damaged: make it again",
    });
  }

  #badToken(position: number, found: number | bigint): never {
    throw new FormatError({
      file: this.#tokens.path,
      at: `token ${position}`,
      expected: "an id from 0 to 2147483647",
      found: String(found),
      advice: "check how the file was made",
    });
  }
}

/**
 * Opens PREFIX.idx and PREFIX.bin.
 * @throws FormatError for what is wrong with either.
 */
export function openBinidx(prefix: string): TokenFile {
  return new TokenFile(prefix);
}
