/** Initial values of parameters, each from a stream of its own. */

import type { Parameter } from "./parameter.ts";
import { type Random, randomStream } from "./random.ts";

/** Orthonormalises rows (modified Gram–Schmidt, twice, in f64). */
function orthonormalRows(rows: number, columns: number, random: Random): Float64Array[] {
  const done: Float64Array[] = [];
  while (done.length < rows) {
    const row = Float64Array.from({ length: columns }, random.normal);
    for (let pass = 0; pass < 2; pass++) {
      for (const other of done) {
        let dot = 0;
        for (let i = 0; i < columns; i++) dot += row[i] * other[i];
        for (let i = 0; i < columns; i++) row[i] -= dot * other[i];
      }
    }
    const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    if (norm < 1e-6) continue;
    done.push(row.map((x) => x / norm));
  }
  return done;
}

/** Orthonormal rows, or columns where there are more rows, times the gain. */
function orthogonal(rows: number, columns: number, gain: number, random: Random): Float32Array {
  const values = new Float32Array(rows * columns);
  if (rows <= columns) {
    orthonormalRows(rows, columns, random).forEach((row, r) => {
      row.forEach((x, c) => values[r * columns + c] = gain * x);
    });
    return values;
  }
  const scale = gain * Math.sqrt(rows / columns);
  orthonormalRows(columns, rows, random).forEach((column, c) => {
    column.forEach((x, r) => values[r * columns + c] = scale * x);
  });
  return values;
}

/** Values one after another, in a loop: Float32Array.from takes many times as long. */
function filled(size: number, next: () => number): Float32Array {
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) values[i] = next();
  return values;
}

/** The values that a parameter has before training, in row-major order. */
export function initialValues({ name, shape, initial }: Parameter, seed: number): Float32Array {
  const size = shape.reduce((n, m) => n * m, 1);
  const random = randomStream(seed, name);
  switch (initial.kind) {
    case "constant":
      return new Float32Array(size).fill(initial.value);
    case "normal":
      return filled(size, () => initial.deviation * random.normal());
    case "uniform":
      return filled(size, () => initial.bound * (2 * random.uniform() - 1));
    case "orthogonal":
      return orthogonal(shape[shape.length - 2], shape[shape.length - 1], initial.gain, random);
    case "ramp": {
      const last = Math.max(1, size - 1);
      const { from, span, power } = initial;
      return Float32Array.from({ length: size }, (_, n) => from + span * (n / last) ** power);
    }
    default:
      return initial satisfies never;
  }
}
