/** `deno task bench operations`: every kind of kernel of training, alone, beside another device. */

import { benchOperation, type OperationBench } from "../../bench/operation.ts";
import { operationsOf } from "../../bench/operations.ts";
import type { Peaks } from "../../bench/peaks.ts";
import { type ShapeName, SHAPES } from "../../bench/shapes.ts";
import type { ProductPrecision } from "../../devices/device.ts";
import { rateCells } from "../profile_text.ts";
import { formOf, referenceForm } from "./forms.ts";
import type { BenchPart, PartResult, PartTable } from "./part.ts";

/** The shapes where none is named. */
const DEFAULT_SHAPES: readonly ShapeName[] = ["small", "smollm"];
/** Time of an operation, and in a quick run. */
const SECONDS = 0.2;
const QUICK_SECONDS = 0.05;

/**
 * Largest difference of a result, of its tensor's largest value, by what products multiply: sums of
 * thousands in f32; TF32 rounds each number to 2⁻¹¹ of it, which makes a product off by 2⁻¹⁰, and the
 * tanh of a product as much, though its largest value is only 1.
 */
const OPERATION_TOLERANCE: Readonly<Record<ProductPrecision, number>> = {
  f32: 1e-4,
  tf32: 8 * 2 ** -10,
};

/** What was measured of a shape. */
interface OfShape {
  readonly shape: ShapeName;
  readonly rows: readonly OperationBench[];
}

/** Time, FLOP/s and GB/s of every operation, and whether its results are those of the reference. */
export const operationsPart: BenchPart = {
  name: "operations",
  title: "Operations",
  measure: async (flags, context) => {
    const { say, device, peaks } = context;
    const form = formOf(flags);
    const seconds = flags.quick ? QUICK_SECONDS : SECONDS;
    const peak = await peaks(form);
    const tolerance = OPERATION_TOLERANCE[flags.products];
    const agrees = within(tolerance);
    const measured: OfShape[] = [];
    await device((own) =>
      device(async (reference) => {
        for (const shape of flags.shape ?? DEFAULT_SHAPES) {
          const rows: OperationBench[] = [];
          for (const operation of operationsOf(SHAPES[shape])) {
            const row = await benchOperation(operation, own, reference, seconds);
            if (!agrees(row)) say(`${shape}: ${row.name}: differs by ${differenceText(row)}`);
            rows.push(row);
          }
          say(`${shape}: ${rows.length} operations, ${rows.filter(agrees).length} as they must be`);
          measured.push({ shape, rows });
        }
      }, referenceForm(flags)), form);
    return resultOf(measured, tolerance, peak);
  },
};

/** Whether a difference is at most so large; what is not a number is not. */
export const within = (tolerance: number) => ({ difference }: { readonly difference: number }) =>
  difference <= tolerance;

/** A difference, as 1.2e-7. */
export const differenceText = ({ difference }: { readonly difference: number }) =>
  difference.toExponential(1);

function resultOf(measured: readonly OfShape[], tolerance: number, peak: Peaks): PartResult {
  const agrees = within(tolerance);
  return {
    content: [
      ...measured.flatMap(({ shape, rows }) => [`Of ${shape}:`, tableOf(rows, peak)]),
      "Bytes are those of inputs and results, each once; `apart` is the largest difference from " +
      "the reference device, of a tensor's largest value, at most " +
      `${tolerance.toExponential(0)}.`,
    ],
    report: {
      peak_gflops: peak.machineGflops,
      peak_gigabytes_per_second: peak.machineGBs,
      tolerance,
      operations: measured.flatMap(({ shape, rows }) =>
        rows.map((row) => ({ shape, ...row, agrees: agrees(row) }))
      ),
    },
    failed: !measured.every(({ rows }) => rows.every(agrees)),
  };
}

const tableOf = (rows: readonly OperationBench[], peak: Peaks): PartTable => ({
  rows: [
    ["operation", "size", "ms", "GFLOPS", "of peak", "GB/s", "of peak", "apart"],
    ...rows.map((row) => {
      const { name, size, seconds, flops, bytes } = row;
      return [
        name,
        size,
        (1000 * seconds).toFixed(3),
        ...rateCells(flops / seconds / 1e9, peak.machineGflops),
        ...rateCells(bytes / seconds / 1e9, peak.machineGBs),
        differenceText(row),
      ];
    }),
  ],
});
