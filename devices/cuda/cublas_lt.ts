/**
 * cuBLASLt by FFI: the calls for one matrix product, each checked. Values are those of cublasLt.h,
 * cublas_api.h and library_types.h, which are the same in versions 12.6 and 13.1.
 */

import { dirname } from "node:path";
import { pointerIn } from "./driver.ts";
import { CudaError } from "./error.ts";
import { candidates, type LibraryPlaces, openLibrary } from "./library.ts";
import { cublasLtNames } from "./names.ts";

/** The variable that names its path; `none` for our own kernels alone. */
export const CUBLASLT_VARIABLE = "SUTURE_CUDA_CUBLASLT";

/** What cuBLASLt must fit. */
export interface CudaInstallation {
  /** Major version of CUDA that the driver is for: a newer library does not work with it. */
  readonly major: number;
  /** Path of NVRTC, beside which cuBLASLt lies where both came from PyPI. */
  readonly nvrtc: string;
}

function places({ major, nvrtc }: CudaInstallation): LibraryPlaces {
  const beside = dirname(nvrtc);
  return {
    what: "cuBLASLt",
    variable: CUBLASLT_VARIABLE,
    candidates: candidates(cublasLtNames(Deno.build.os, major), beside === "." ? [] : [beside]),
    advice: "install the CUDA toolkit 12 or 13, or nvidia-cublas from PyPI",
  };
}

/** Values of enumerations. */
export const CUBLASLT = {
  r32f: 0,
  compute: { f32: 68, tf32: 77 },
  desc: { transposeA: 3, transposeB: 4 },
  layout: { batchCount: 5, batchOffset: 6 },
  preference: { workspaceBytes: 1, reductionSchemes: 3, alignments: [5, 6, 7, 8] },
  /** Partial sums in the workspace, which are added up in a fixed order. */
  reductionScheme: { computeType: 2, outputType: 4 },
  notSupported: 15,
} as const;

/** `cublasLtMatmulHeuristicResult_t`: the algorithm, the bytes of workspace it needs, its status. */
export const HEURISTIC = { bytes: 96, algorithmBytes: 64, workspace: 64, state: 72 } as const;

const [out, handle, address, size] = ["buffer", "pointer", "u64", "usize"] as const;
const calls = <const P extends readonly Deno.NativeType[]>(...parameters: P) =>
  ({ parameters, result: "i32" }) as const;

const SYMBOLS = {
  cublasLtGetVersion: { parameters: [], result: "usize" },
  cublasLtGetStatusName: { parameters: ["i32"], result: "pointer" },
  cublasLtCreate: calls(out),
  cublasLtDestroy: calls(handle),
  cublasLtMatrixLayoutCreate: calls(out, "i32", "u64", "u64", "i64"),
  cublasLtMatrixLayoutSetAttribute: calls(handle, "i32", out, size),
  cublasLtMatrixLayoutDestroy: calls(handle),
  cublasLtMatmulDescCreate: calls(out, "i32", "i32"),
  cublasLtMatmulDescSetAttribute: calls(handle, "i32", out, size),
  cublasLtMatmulDescDestroy: calls(handle),
  cublasLtMatmulPreferenceCreate: calls(out),
  cublasLtMatmulPreferenceSetAttribute: calls(handle, "i32", out, size),
  cublasLtMatmulPreferenceDestroy: calls(handle),
  cublasLtMatmulAlgoGetHeuristic: calls(
    ...[handle, handle, handle, handle, handle, handle, handle] as const,
    ...["i32", out, out] as const,
  ),
  cublasLtMatmul: calls(
    ...[handle, handle, out, address, handle, address, handle] as const,
    ...[out, address, handle, address, handle, out, address, size, handle] as const,
  ),
} as const satisfies Deno.ForeignLibraryInterface;

/** The open library. */
export interface CublasLt {
  readonly path: string;
  /** As `13.1`. */
  readonly version: string;
  /** Its functions, unchecked. */
  readonly symbols: Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;
  /** Throws a CudaError that names the call, unless its status is that of success. */
  check(call: string, status: number): void;
  /** The handle or descriptor that a call makes. */
  made(call: string, make: (cell: BigUint64Array<ArrayBuffer>) => number): Deno.PointerValue;
  close(): void;
}

/** Opens cuBLASLt. @throws CudaError without one. */
export function openCublasLt(installed: CudaInstallation, path?: string): CublasLt {
  const library = openLibrary(places(installed), SYMBOLS, path);
  const { symbols } = library;
  const check = (call: string, status: number) => {
    if (status === 0) return;
    const text = symbols.cublasLtGetStatusName(status);
    const what = text === null ? `status ${status}` : Deno.UnsafePointerView.getCString(text);
    throw new CudaError(`cuda: ${call}: ${what}`);
  };
  // 10000 · major + 100 · minor + patch.
  const version = Number(symbols.cublasLtGetVersion());
  return {
    path: library.path,
    version: `${Math.floor(version / 10000)}.${Math.floor((version % 10000) / 100)}`,
    symbols,
    check,
    made: (call, make) => {
      const cell = new BigUint64Array(1);
      check(call, make(cell));
      return pointerIn(cell);
    },
    close: library.close,
  };
}
