/** What computes: a BLAS beside our kernels, these alone as machine code, or as WebAssembly. */

import { findBlas } from "../../devices/cpu/blas.ts";
import { findNative } from "../../devices/cpu/native.ts";
import type { BenchFlags } from "./flags.ts";

/** How the CPU device is opened, and what tables call it. */
export interface Form {
  readonly name: "BLAS" | "machine code" | "WebAssembly";
  readonly blas: string;
  readonly native: "auto" | "none";
}

/** What the flags ask for, as this machine has it. */
export function formOf({ blas, native }: Pick<BenchFlags, "blas" | "native">): Form {
  const withBlas = blas !== "none" && (blas !== "auto" || findBlas() !== undefined);
  const withCode = native === "auto" && findNative() !== undefined;
  return { name: withBlas ? "BLAS" : withCode ? "machine code" : "WebAssembly", blas, native };
}

/** All forms that this machine has, the fastest first, or the one that the flags say. */
export function formsOf(flags: Pick<BenchFlags, "blas" | "native">, all: boolean): Form[] {
  const own = formOf(flags);
  if (!all) return [own];
  const forms = [own, formOf({ ...flags, blas: "none" }), formOf({ blas: "none", native: "none" })];
  return forms.filter((form, i) => forms.findIndex(({ name }) => name === form.name) === i);
}
