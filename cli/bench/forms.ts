/**
 * What computes: a GPU; on the CPU a BLAS beside our kernels, these alone as machine code, or as
 * WebAssembly.
 */

import { findBlas } from "../../devices/cpu/blas.ts";
import { findNative } from "../../devices/cpu/native.ts";
import type { BenchFlags } from "./flags.ts";

/** How the device is opened, and what tables call it. */
export interface Form {
  readonly name: "BLAS" | "machine code" | "WebAssembly" | "GPU";
  /** The name, and in which numbers a GPU multiplies matrices. */
  readonly label: string;
  readonly blas: string;
  readonly native: BenchFlags["native"];
}

/** The flags that say what computes. */
export type FormFlags = Pick<BenchFlags, "device" | "blas" | "native" | "products">;

/** What the flags ask for, as this machine has it. */
export function formOf({ device, blas, native, products }: FormFlags): Form {
  if (device !== "cpu") return { name: "GPU", label: `GPU ${products}`, blas, native };
  const withBlas = blas !== "none" && (blas !== "auto" || findBlas() !== undefined);
  const withCode = native !== "none" && findNative() !== undefined;
  const name = withBlas ? "BLAS" : withCode ? "machine code" : "WebAssembly";
  return { name, label: name, blas, native };
}

/** All forms that this machine has, the fastest first, or the one that the flags say. */
export function formsOf(flags: FormFlags, all: boolean): Form[] {
  const own = formOf(flags);
  if (!all || own.name === "GPU") return [own];
  const plain = { ...flags, blas: "none" };
  const forms = [own, formOf(plain), formOf({ ...plain, native: "none" })];
  return forms.filter((form, i) => forms.findIndex(({ name }) => name === form.name) === i);
}

/** What results are held against: a GPU's the CPU's best, the CPU's those of WebAssembly alone. */
export const referenceForm = (flags: FormFlags): Form =>
  flags.device === "cpu"
    ? formOf({ ...flags, blas: "none", native: "none" })
    : formOf({ ...flags, device: "cpu", blas: "auto", native: "auto" });
