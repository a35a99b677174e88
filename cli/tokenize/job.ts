/**
 * Making a token file that may be too long for one sitting. What is not done yet lies in
 * PREFIX.partial: tokens and lengths of the documents so far, and a state that says how much of both
 * counts and where in the sources to go on. Whatever kills the process, the state is one that was
 * true; what was written after it is cut off.
 */

import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { writeJsonAtomic } from "../../formats/atomic_file.ts";
import type { TokenType } from "../../formats/binidx/header.ts";
import { indexBytes } from "../../formats/binidx/write.ts";
import { FormatError, systemError } from "../../formats/error.ts";
import { exists } from "../../formats/files.ts";
import { lockFolder } from "../../formats/folder_lock.ts";
import { readJsonObject } from "../../formats/json_file.ts";
import type { Encoded } from "./encoding.ts";
import { BEGINNING, type InputFile, type Position } from "./input.ts";

/** What makes a token file what it is; a run goes on only with the same. */
export interface Making {
  readonly files: readonly InputFile[];
  /** SHA-256 of the tokenizer's files. */
  readonly tokenizer: string;
  readonly type: TokenType;
  readonly end?: number;
}

/** How far a run is. */
interface State {
  readonly making: string;
  readonly position: Position;
  /** Bytes of tokens and documents so far. */
  readonly tokenBytes: number;
  readonly documents: number;
  /** Whether the index is written, so that only renaming is left. */
  readonly whole: boolean;
}

/** A token file in the making. Dispose it: what is there stays for `resume`. */
export interface Job extends Disposable {
  readonly folder: string;
  /** Where in the sources it is. */
  readonly position: Position;
  readonly tokenBytes: number;
  readonly documents: number;
  /** Appends the documents before a position. */
  append(encoded: Encoded, position: Position): void;
  /** Makes everything so far last. */
  checkpoint(): void;
  /** Writes the index, puts both files in their places, and removes what was beside. */
  finish(): void;
  /** Removes what was made. */
  discard(): void;
}

/** Bytes of the largest state that is read. */
const STATE_LIMIT = 100_000;
/** Lengths of documents that are held at a time. */
const BLOCK_DOCUMENTS = 1 << 16;

/** Where a token file is made. */
const partialFolder = (prefix: string): string => `${prefix}.partial`;

/** The hash that names what is made. */
function keyOf(making: Making): string {
  return createHash("sha256").update(JSON.stringify(making)).digest("hex");
}

/** Whether an earlier run has left something to go on with. */
export function canResume(prefix: string): boolean {
  return exists(join(partialFolder(prefix), "state.json"));
}

function readState(path: string, making: string): State {
  const state = readJsonObject(path, STATE_LIMIT) as unknown as State;
  if (state.making === making) return state;
  throw new FormatError({
    file: path,
    expected: "the sources, the tokenizer and the flags that the run began with",
    found: "others, or sources that were written to since",
    advice: "run it without --resume, which starts afresh",
  });
}

/** A file that is appended to, cut to what counts. */
function openAt(path: string, bytes: number): Deno.FsFile {
  const file = Deno.openSync(path, { create: true, read: true, write: true });
  if (file.statSync().size < bytes) {
    file.close();
    throw new FormatError({
      file: path,
      expected: `at least ${bytes} bytes, as the state says`,
      found: "fewer",
      advice: "run it without --resume, which starts afresh",
    });
  }
  file.truncateSync(bytes);
  file.seekSync(0, Deno.SeekMode.End);
  return file;
}

function writeAll(file: Deno.FsFile, bytes: Uint8Array<ArrayBuffer>): void {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(file.writeSync(rest));
}

/** The lengths in a file, block by block. */
function* lengthBlocks(path: string): Generator<Int32Array> {
  using file = Deno.openSync(path);
  for (let rest = file.statSync().size / 4; rest > 0;) {
    const block = new Int32Array(Math.min(BLOCK_DOCUMENTS, rest));
    rest -= block.length;
    for (let bytes = new Uint8Array(block.buffer); bytes.length > 0;) {
      bytes = bytes.subarray(file.readSync(bytes) ?? bytes.length);
    }
    yield block;
  }
}

/**
 * Begins to make PREFIX.bin and PREFIX.idx, or goes on with it.
 * @throws FormatError where another process makes them, where there is something else to go on with
 * than what is made, and where the system refuses.
 */
export function openJob(prefix: string, making: Making, resume: boolean): Job {
  const folder = partialFolder(prefix);
  const [bin, idx, lengths, stateFile] = ["tokens.bin", "tokens.idx", "lengths.i32", "state.json"]
    .map((name) => join(folder, name));
  const key = keyOf(making);
  const guard = <T>(act: () => T): T => {
    try {
      return act();
    } catch (error) {
      throw systemError(folder, "write", error);
    }
  };
  return guard(() => {
    using opened = new DisposableStack();
    Deno.mkdirSync(folder, { recursive: true });
    const lock = opened.use(lockFolder(folder));
    if (!resume) {
      [stateFile, bin, idx, lengths].filter(exists).forEach((path) => Deno.removeSync(path));
    }
    let state: State = resume
      ? readState(stateFile, key)
      : { making: key, position: BEGINNING, tokenBytes: 0, documents: 0, whole: false };
    // Where the tokens are renamed already, there is nothing to append to them.
    const tokenFile = state.whole ? undefined : opened.use(openAt(bin, state.tokenBytes));
    const lengthFile = state.whole ? undefined : opened.use(openAt(lengths, 4 * state.documents));
    const save = (changes: Partial<State> = {}) => {
      tokenFile?.syncSync();
      lengthFile?.syncSync();
      state = { ...state, ...changes };
      writeJsonAtomic(stateFile, state);
    };
    const remove = () => {
      lock.close();
      Deno.removeSync(folder, { recursive: true });
    };
    const kept = opened.move();
    return {
      folder,
      get position() {
        return state.position;
      },
      get tokenBytes() {
        return state.tokenBytes;
      },
      get documents() {
        return state.documents;
      },
      append: (encoded, position) =>
        guard(() => {
          writeAll(tokenFile!, encoded.tokens);
          writeAll(lengthFile!, new Uint8Array(encoded.lengths.buffer));
          state = {
            ...state,
            position,
            tokenBytes: state.tokenBytes + encoded.tokens.length,
            documents: state.documents + encoded.lengths.length,
          };
        }),
      checkpoint: () => guard(() => save()),
      finish: () =>
        guard(() => {
          if (!state.whole) {
            using file = Deno.createSync(idx);
            for (const bytes of indexBytes(() => lengthBlocks(lengths), making.type)) {
              writeAll(file, bytes);
            }
            file.syncSync();
            save({ whole: true });
          }
          Deno.mkdirSync(dirname(prefix), { recursive: true });
          // A reader in between finds tokens that do not belong to the index, and says so.
          if (exists(bin)) Deno.renameSync(bin, `${prefix}.bin`);
          if (exists(idx)) Deno.renameSync(idx, `${prefix}.idx`);
          remove();
        }),
      discard: () => guard(remove),
      [Symbol.dispose]: () => kept.dispose(),
    };
  });
}
