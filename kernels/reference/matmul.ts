/** Matrix products and rows of tables. */

import { type Shape, size } from "../../graph/tensor.ts";
import { addScaled, checkIndex, type Value } from "./value.ts";

/** a·b of matrices or of stacks of as many; transposed operands are stored with axes swapped. */
export function matmul(
  a: Value,
  b: Value,
  transposeA: boolean,
  transposeB: boolean,
): Float64Array {
  const [aRows, aColumns] = a.shape.slice(-2);
  const [bRows, bColumns] = b.shape.slice(-2);
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const n = transposeB ? bRows : bColumns;
  const batch = size(a.shape.slice(0, -2));
  const out = new Float64Array(batch * m * n);
  for (let matrix = 0; matrix < batch; matrix++) {
    for (let row = 0; row < m; row++) {
      for (let column = 0; column < n; column++) {
        let sum = 0;
        for (let i = 0; i < k; i++) {
          const left = transposeA ? i * m + row : row * k + i;
          const right = transposeB ? column * k + i : i * n + column;
          sum += a.data[matrix * m * k + left] * b.data[matrix * k * n + right];
        }
        out[(matrix * m + row) * n + column] = sum;
      }
    }
  }
  return out;
}

/** Rows of a table [vocabulary, width] by id. */
export function embedding(table: Value, ids: Value): Float64Array {
  const [vocabulary, width] = table.shape;
  const out = new Float64Array(ids.data.length * width);
  ids.data.forEach((id, i) => {
    checkIndex("embedding: id", id, vocabulary);
    out.set(table.data.subarray(id * width, (id + 1) * width), i * width);
  });
  return out;
}

/** Every row's gradient summed into the row of its id. */
export function embeddingGradient(gradient: Value, ids: Value, shape: Shape): Float64Array {
  const [vocabulary, width] = shape;
  const out = new Float64Array(vocabulary * width);
  ids.data.forEach((id, i) => {
    checkIndex("embedding_gradient: id", id, vocabulary);
    addScaled(out, id * width, 1, gradient.data, i * width, width);
  });
  return out;
}
