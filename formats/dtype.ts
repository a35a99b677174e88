/** Element types of stored tensors, by their names in safetensors files. */

/** Bytes of one element of each type. Little-endian, as all machines that Deno runs on. */
export const DTYPE_BYTES = Object.freeze(
  { F64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const,
);

/** An element type. */
export type Dtype = keyof typeof DTYPE_BYTES;

/** Every element type, for messages. */
export const DTYPES: readonly Dtype[] = Object.freeze(Object.keys(DTYPE_BYTES) as Dtype[]);

/** Whether the name is one of ours. */
export function isDtype(name: unknown): name is Dtype {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}

/** Elements of a shape; 1 for `[]`. `undefined` where they exceed what a number holds exactly. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const size of shape) {
    count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

/** Bytes of a tensor. `undefined` where they exceed what a number holds exactly. */
export function tensorBytes(dtype: Dtype, shape: readonly number[]): number | undefined {
  const bytes = (elementCount(shape) ?? Infinity) * DTYPE_BYTES[dtype];
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
