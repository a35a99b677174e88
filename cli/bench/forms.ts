/** Who computes the matrix products: a BLAS, or the kernels alone. */

import { findBlas } from "../../devices/cpu/blas.ts";

/** What is measured: all of the forms that this machine has, or the one that the flags say. */
export function blasForms(blas: string, all: boolean): readonly string[] {
  if (!all) return [blas];
  return blas === "none" || blas === "auto" && findBlas() === undefined ? ["none"] : [blas, "none"];
}

/** A form's name in tables. */
export const formName = (blas: string): string =>
  blas === "none" || blas === "auto" && findBlas() === undefined ? "kernels" : "BLAS";
