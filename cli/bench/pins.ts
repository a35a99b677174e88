/** Some machines pin the kernels of OpenBLAS to an older processor's; a bench wants its own. */
export function unpinBlas(): void {
  for (const pin of ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"]) Deno.env.delete(pin);
}
