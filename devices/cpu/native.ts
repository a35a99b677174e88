/**
 * Kernels as machine code, called through FFI: memory for code, and what the processor can do.
 *
 * Code is written first and made executable then, never both at once. It is called by way of the C
 * library's `bsearch`, which calls a function on two addresses: Deno compiles calls of a library's
 * functions, so that this takes some 20 ns, where calling a function pointer takes 1.7 µs.
 */

import { levelsOf, type X64Level } from "../../kernels/render/x64.ts";
import { CPUID_CODE, CPUID_WORDS, levelOf } from "../../kernels/render/x64/cpuid.ts";

/** Functions in executable memory. */
export interface NativeCode {
  /** Their addresses, in the order in which their code was given. */
  readonly addresses: readonly number[];
  free(): void;
}

/** Calls functions in executable memory. */
export interface NativeCalls {
  /** A function for a range of items, from its code's address and places in the memory. */
  bind(code: number, args: readonly number[]): (begin: number, end: number) => void;
  /** A function of the address of some words, which stay where they are. */
  bindWords(code: number, words: ArrayBufferView<ArrayBuffer>): () => void;
  close(): void;
}

/** Where the ABI of the code and the numbers below hold. */
const isSupported = Deno.build.os === "linux" && Deno.build.arch === "x86_64";

const LIBRARY = "libc.so.6";
const [READ, WRITE, EXECUTE] = [1, 2, 4];
const [PRIVATE, ANONYMOUS] = [0x02, 0x20];
const PAGE = 4096;
/** Functions begin at multiples of this. */
const ALIGNMENT = 64;

const MEMORY = {
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  mprotect: { parameters: ["pointer", "usize", "i32"], result: "i32" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
} as const;

const CALL = {
  bsearch: { parameters: ["pointer", "pointer", "usize", "usize", "pointer"], result: "pointer" },
} as const;

const SYSTEM = {
  syscall: { parameters: ["i64", "i64", "i64"], result: "i64" },
} as const;

/** The call by which a process asks for state that is large: arch_prctl(ARCH_REQ_XCOMP_PERM, 18). */
const REQUEST_TILES = [158n, 0x1023n, 18n] as const;

/**
 * Whether the system lets this process, all its threads, use tiles; it must be asked (Linux,
 * Documentation/arch/x86/xstate.rst), once or more often.
 */
function mayUseTiles(): boolean {
  const library = Deno.dlopen(LIBRARY, SYSTEM);
  const refused = library.symbols.syscall(...REQUEST_TILES);
  library.close();
  return refused === 0n;
}

/** Puts functions into executable memory. Throws where the system does not allow it. */
export function loadCode(functions: readonly Uint8Array[]): NativeCode {
  const starts: number[] = [];
  let size = 0;
  for (const code of functions) {
    starts.push(size);
    size += Math.ceil(code.length / ALIGNMENT) * ALIGNMENT;
  }
  const bytes = Math.ceil(size / PAGE) * PAGE;
  const library = Deno.dlopen(LIBRARY, MEMORY);
  const { mmap, mprotect, munmap } = library.symbols;
  const at = mmap(null, BigInt(bytes), READ | WRITE, PRIVATE | ANONYMOUS, -1, 0n);
  const base = Deno.UnsafePointer.value(at);
  // mmap's failure is the address −1.
  if (at === null || BigInt.asIntN(64, base) === -1n) {
    library.close();
    throw new Error(`cpu: the system gave no memory for ${bytes} bytes of code`);
  }
  const memory = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(at, bytes));
  functions.forEach((code, i) => memory.set(code, starts[i]));
  const free = () => {
    munmap(at, BigInt(bytes));
    library.close();
  };
  if (mprotect(at, BigInt(bytes), READ | EXECUTE) !== 0) {
    free();
    throw new Error("cpu: the system does not let memory become executable");
  }
  return { addresses: starts.map((start) => Number(base) + start), free };
}

/** Says that memory is used in large pieces (MADV_HUGEPAGE). */
const LARGE_PAGES = 14;
const ADVICE = {
  madvise: { parameters: ["pointer", "usize", "i32"], result: "i32" },
} as const;

/**
 * Asks for pages of 2 MiB in a memory of at most so many bytes: a matrix that is read once crosses a
 * page every 4 KiB otherwise, and looking up where the next one is takes up to a fifth of the time.
 * A system that has none goes on with small ones.
 */
export function useLargePages(memory: WebAssembly.Memory, bytes: number): void {
  const library = Deno.dlopen(LIBRARY, ADVICE);
  library.symbols.madvise(
    Deno.UnsafePointer.create(memoryBase(memory)),
    BigInt(bytes),
    LARGE_PAGES,
  );
  library.close();
}

/** Opens the way to call code that works on a memory, which begins at an address. */
export function openCalls(base: bigint): NativeCalls {
  const library = Deno.dlopen(LIBRARY, CALL);
  const { bsearch } = library.symbols;
  return {
    bind: (code, args) => {
      const at = Deno.UnsafePointer.create(BigInt(code));
      // One buffer for both, which lives as long as the function.
      const words = new BigInt64Array(args.length + 1);
      words.set(args.map((place) => base + BigInt(place)));
      const range = new Int32Array(words.buffer, 8 * args.length, 2);
      const [argsAt, rangeAt] = [words, range].map((each) => Deno.UnsafePointer.of(each));
      return (begin, end) => {
        range[0] = begin;
        range[1] = end;
        bsearch(argsAt, rangeAt, 1n, 1n, at);
      };
    },
    bindWords: (code, words) => {
      const [at, function_] = [addressOf(words.buffer) + BigInt(words.byteOffset), BigInt(code)]
        .map((address) => Deno.UnsafePointer.create(address));
      return () => void bsearch(at, at, 1n, 1n, function_);
    },
    close: () => library.close(),
  };
}

/** The address of a buffer in the process, where it stays as long as it is in use. */
export function addressOf(buffer: ArrayBufferLike): bigint {
  const bytes = new Uint8Array(buffer) as unknown as BufferSource;
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
}

/** The address of a WebAssembly memory in the process; it stays where it is when it grows. */
export const memoryBase = (memory: WebAssembly.Memory): bigint => addressOf(memory.buffer);

/**
 * The instruction set that native code can be made for; undefined on other processors and systems,
 * without permission for FFI, and where the system does not let code be made.
 */
export function findNative(): X64Level | undefined {
  if (!isSupported || Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    return undefined;
  }
  try {
    const code = loadCode([CPUID_CODE]);
    const calls = openCalls(0n);
    const words = new Uint32Array(CPUID_WORDS);
    calls.bindWords(code.addresses[0], words)();
    calls.close();
    code.free();
    const level = levelOf(words);
    // Every level has what the one below it has.
    return level === "amx" && !mayUseTiles() ? "vnni" : level;
  } catch {
    // No such library, or no executable memory: WebAssembly it is.
    return undefined;
  }
}

/** The level to use. Throws where one is asked for that this machine does not have. */
export function chooseNative(wanted: "auto" | "none" | X64Level): X64Level | undefined {
  if (wanted === "none") return undefined;
  const found = findNative();
  if (wanted === "auto") return found;
  if (found !== undefined && levelsOf(found).includes(wanted)) return wanted;
  throw new Error(`cpu: expected a processor with ${wanted}, found ${found ?? "neither"}`);
}
