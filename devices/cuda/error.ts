/** What goes wrong on a CUDA device. */

/** A call that failed, or a library that is missing or does not fit. */
export class CudaError extends Error {
  override readonly name = "CudaError";
}
