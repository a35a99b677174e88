/** A BLAS through FFI, where the machine has one: OpenBLAS, BLIS, MKL or Accelerate. */

/** A product as cblas_sgemm takes it, row-major, without the addresses. */
export interface GemmCall {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly lda: number;
  readonly ldb: number;
  readonly ldc: number;
  /** Whether it is added to what c holds. */
  readonly accumulates: boolean;
  /** Rows of the result that are one work item. */
  readonly rows: number;
}

/** A product with stored weights, of which a few columns at a time become f32. */
export interface ExpandedGemm extends GemmCall {
  /** Columns of the result that are one work item, with all rows. */
  readonly columns: number;
  /** The kernel that expands four of them an item (kernels/weights/rows.ts). */
  readonly expansion: number;
}

/** An open library. */
export interface Blas {
  /** Computes the rows of items begin … end−1; operands are the addresses of a, b and c. */
  gemm(call: GemmCall, operands: readonly number[], begin: number, end: number): void;
  close(): void;
}

const ROW_MAJOR = 101;
const NO_TRANSPOSE = 111;
const TRANSPOSE = 112;

const SYMBOLS = {
  cblas_sgemm: {
    parameters: [
      ...["i32", "i32", "i32", "i32", "i32", "i32", "f32"],
      ...["pointer", "i32", "pointer", "i32", "f32", "pointer", "i32"],
    ] as Deno.NativeType[],
    result: "void",
  },
} as const;

/** Names under which systems keep a BLAS with the C interface. */
const CANDIDATES: Partial<Record<typeof Deno.build.os, readonly string[]>> = {
  linux: [
    ...["libopenblas.so.0", "libopenblas.so", "libblis.so.4", "libblis.so.3", "libblis.so"],
    ...["libmkl_rt.so.2", "libmkl_rt.so", "libcblas.so.3"],
  ],
  darwin: [
    "/System/Library/Frameworks/Accelerate.framework/Accelerate",
    "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
  ],
  windows: ["libopenblas.dll", "mkl_rt.2.dll"],
};

/** The first library that opens; undefined without one or without permission for FFI. */
export function findBlas(): string | undefined {
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
  for (const path of CANDIDATES[Deno.build.os] ?? []) {
    try {
      Deno.dlopen(path, SYMBOLS).close();
      return path;
    } catch {
      // Not on this machine: the next name.
    }
  }
  return undefined;
}

/** Makes a library compute on the calling thread alone: the device has its own threads. */
function useOneThread(path: string): void {
  const setters = ["openblas_set_num_threads", "bli_thread_set_num_threads", "MKL_Set_Num_Threads"];
  for (const name of setters) {
    try {
      const library = Deno.dlopen(path, { [name]: { parameters: ["i32"], result: "void" } });
      (library.symbols[name] as (threads: number) => void)(1);
      library.close();
      return;
    } catch {
      // Another library's name.
    }
  }
}

/** Opens a library for products on the device's memory. */
export function openBlas(path: string, memory: WebAssembly.Memory): Blas {
  const library = Deno.dlopen(path, SYMBOLS);
  useOneThread(path);
  const sgemm = library.symbols.cblas_sgemm as (...args: unknown[]) => void;
  const base = Deno.UnsafePointer.value(
    Deno.UnsafePointer.of(new Uint8Array(memory.buffer) as unknown as BufferSource),
  );
  const pointer = (address: number) => Deno.UnsafePointer.create(base + BigInt(address));
  return {
    gemm: (call, [a, b, c], begin, end) => {
      const { m, n, k, transposeA, transposeB, lda, ldb, ldc, accumulates, rows } = call;
      const first = begin * rows;
      const count = Math.min(end * rows, m) - first;
      sgemm(
        ROW_MAJOR,
        transposeA ? TRANSPOSE : NO_TRANSPOSE,
        transposeB ? TRANSPOSE : NO_TRANSPOSE,
        count,
        n,
        k,
        1,
        pointer(a + first * (transposeA ? 1 : lda) * 4),
        lda,
        pointer(b),
        ldb,
        accumulates ? 1 : 0,
        pointer(c + first * ldc * 4),
        ldc,
      );
    },
    close: () => library.close(),
  };
}
