/** NVRTC by FFI: CUDA C++ to machine code. It needs no GPU. */

import { basename, dirname, join } from "node:path";
import { cString, pointerIn } from "./driver.ts";
import { CudaError } from "./error.ts";
import { candidates, type LibraryPlaces, openLibrary } from "./library.ts";
import { nvrtcNames } from "./names.ts";

const places = (driver?: number): LibraryPlaces => ({
  what: "NVRTC",
  variable: "SUTURE_CUDA_NVRTC",
  candidates: candidates(nvrtcNames(Deno.build.os, driver)),
  advice: "install the CUDA toolkit 12 or 13, or nvidia-cuda-nvrtc from PyPI",
});

const OLDEST_MAJOR = 12;

const [out, handle] = ["buffer", "pointer"] as const;
const calls = <const P extends readonly Deno.NativeType[]>(...parameters: P) =>
  ({ parameters, result: "i32" }) as const;

const SYMBOLS = {
  nvrtcVersion: calls(out, out),
  nvrtcGetErrorString: { parameters: ["i32"], result: "pointer" },
  nvrtcGetNumSupportedArchs: calls(out),
  nvrtcGetSupportedArchs: calls(out),
  nvrtcCreateProgram: calls(out, out, out, "i32", handle, handle),
  nvrtcCompileProgram: calls(handle, "i32", out),
  nvrtcGetProgramLogSize: calls(handle, out),
  nvrtcGetProgramLog: calls(handle, out),
  nvrtcGetCUBINSize: calls(handle, out),
  nvrtcGetCUBIN: calls(handle, out),
  nvrtcGetPTXSize: calls(handle, out),
  nvrtcGetPTX: calls(handle, out),
  nvrtcDestroyProgram: calls(out),
} as const satisfies Deno.ForeignLibraryInterface;

/** What code is made for: machine code of one architecture, or PTX that the driver translates. */
export interface Target {
  readonly kind: "cubin" | "ptx";
  /** 10 · major + minor of the compute capability. */
  readonly architecture: number;
}

/** What a compilation gives. */
export interface Compiled {
  readonly code: Uint8Array<ArrayBuffer>;
  /** Warnings, and for machine code what each kernel takes, as ptxas says it. */
  readonly log: string;
}

/** The open compiler. */
export interface Nvrtc {
  readonly path: string;
  readonly version: { readonly major: number; readonly minor: number };
  /** Compute capabilities that it makes code for, ascending. */
  readonly architectures: readonly number[];
  /**
   * Compiles CUDA C++.
   * @param name for messages
   * @throws CudaError with the compiler's log.
   */
  compile(source: string, name: string, target: Target): Compiled;
  close(): void;
}

/** The machine code of a device where the compiler knows it, else PTX of the newest that it knows. */
export function targetFor(architecture: number, known: readonly number[]): Target {
  if (known.includes(architecture)) return { kind: "cubin", architecture };
  const older = known.filter((a) => a < architecture);
  if (older.length > 0) return { kind: "ptx", architecture: Math.max(...older) };
  throw new CudaError(
    `cuda: expected a GPU of compute capability ${Math.min(...known) / 10} or newer, ` +
      `found ${architecture / 10}; an older CUDA toolkit may support it`,
  );
}

/** Options of a compilation. Neither fast-math nor flushed denormals: results are to be the CPU's. */
function options({ kind, architecture }: Target): string[] {
  const prefix = kind === "cubin" ? "sm" : "compute";
  // A module has what its kernels may use, not what they do.
  const log = ["--ptxas-options=-v", "--diag-suppress=177"];
  return [`--gpu-architecture=${prefix}_${architecture}`, "--std=c++17", ...log];
}

/** NVRTC loads a second library by its bare name: one that lies beside it is loaded first. */
function loadBuiltins(path: string): void {
  if (basename(path) === path) return;
  const folder = dirname(path);
  for (const { name } of Deno.readDirSync(folder)) {
    if (/^(lib)?nvrtc-builtins(64_|\.so\.)[\d.]+/.test(name)) Deno.dlopen(join(folder, name), {});
  }
}

/**
 * Opens NVRTC.
 * @param driver the major version of CUDA that the driver is for: one that fits is tried first
 * @throws CudaError without one and for one that is too old
 */
export function openNvrtc(path?: string, driver?: number): Nvrtc {
  const library = openLibrary(places(driver), SYMBOLS, path, loadBuiltins);
  const { symbols } = library;
  const check = (call: string, code: number, log = "") => {
    if (code === 0) return;
    const text = symbols.nvrtcGetErrorString(code);
    const what = text === null ? `code ${code}` : Deno.UnsafePointerView.getCString(text);
    throw new CudaError(`cuda: ${call}: ${what}${log === "" ? "" : `\n${log}`}`);
  };
  const [major, minor, count] = [new Int32Array(1), new Int32Array(1), new Int32Array(1)];
  check("nvrtcVersion", symbols.nvrtcVersion(major, minor));
  if (major[0] < OLDEST_MAJOR) {
    const found = `${major[0]}.${minor[0]}`;
    library.close();
    throw new CudaError(
      `cuda: ${library.path}: expected NVRTC ${OLDEST_MAJOR} or newer, found ${found}`,
    );
  }
  check("nvrtcGetNumSupportedArchs", symbols.nvrtcGetNumSupportedArchs(count));
  const architectures = new Int32Array(count[0]);
  check("nvrtcGetSupportedArchs", symbols.nvrtcGetSupportedArchs(architectures));

  type Sized = "nvrtcGetProgramLog" | "nvrtcGetCUBIN" | "nvrtcGetPTX";
  const fetch = (name: Sized, program: Deno.PointerValue) => {
    const size = new BigUint64Array(1);
    check(`${name}Size`, symbols[`${name}Size`](program, size));
    const bytes = new Uint8Array(Number(size[0]));
    if (bytes.length > 0) check(name, symbols[name](program, bytes));
    return bytes;
  };
  const compile = (source: string, name: string, target: Target) => {
    const cell = new BigUint64Array(1);
    check(
      "nvrtcCreateProgram",
      symbols.nvrtcCreateProgram(cell, cString(source), cString(`${name}.cu`), 0, null, null),
    );
    try {
      const program = pointerIn(cell);
      const texts = options(target).map(cString);
      const addresses = BigUint64Array.from(
        texts,
        (text) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(text)),
      );
      const result = symbols.nvrtcCompileProgram(program, texts.length, addresses);
      const bytes = fetch("nvrtcGetProgramLog", program);
      const log = new TextDecoder().decode(bytes).replace(/\0$/, "").trim();
      check(`nvrtcCompileProgram ${name}`, result, log);
      const code = fetch(target.kind === "cubin" ? "nvrtcGetCUBIN" : "nvrtcGetPTX", program);
      return { code, log };
    } finally {
      symbols.nvrtcDestroyProgram(cell);
    }
  };
  return {
    path: library.path,
    version: { major: major[0], minor: minor[0] },
    architectures: [...architectures],
    compile,
    close: library.close,
  };
}
