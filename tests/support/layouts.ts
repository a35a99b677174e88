/** Operands that lie in memory in unusual ways. */

import { type AxisLayout, contiguousLayout, type OperandLayout } from "../../kernels/kernel.ts";

const axisSize = (axis: AxisLayout) => axis.reduce((product, { size }) => product * size, 1);

/** Elements of an index along an axis. */
function along(index: number, axis: AxisLayout): number {
  let rest = index;
  let sum = 0;
  for (const { size, stride } of [...axis].reverse()) {
    sum += rest % size * stride;
    rest = Math.floor(rest / size);
  }
  return sum;
}

/** The logical elements of an operand in row-major order, and where each lies. */
function places(layout: OperandLayout): number[] {
  return layout.axes.reduce(
    (found, axis) =>
      found.flatMap((base) =>
        Array.from({ length: axisSize(axis) }, (_, i) => base + along(i, axis))
      ),
    [layout.offset],
  );
}

/** Elements of memory that an operand reaches over. */
export function reach(layout: OperandLayout): number {
  return places(layout).reduce((top, place) => Math.max(top, place), 0) + 1;
}

/** The logical elements of an operand. */
export function gather(data: ArrayLike<number>, layout: OperandLayout): Float64Array {
  return Float64Array.from(places(layout), (place) => data[place]);
}

/** Ways for [batch, time, heads, width] to lie: contiguous, a slice of a wider row, heads first. */
export function headLayouts(
  [batch, time, heads, width]: readonly [number, number, number, number],
  groups = 1,
): OperandLayout[] {
  const kv = heads / groups;
  const headAxis = (stride: number) =>
    groups === 1 ? [{ size: heads, stride }] : [{ size: kv, stride }, { size: groups, stride: 0 }];
  const row = kv * width;
  const sliced = (wide: number, offset: number): OperandLayout => ({
    offset,
    axes: [
      [{ size: batch, stride: time * wide }],
      [{ size: time, stride: wide }],
      headAxis(width),
      [{ size: width, stride: 1 }],
    ],
  });
  return [
    groups === 1 ? contiguousLayout([batch, time, heads, width]) : sliced(row, 0),
    sliced(3 * row + 4, row),
    {
      offset: 3,
      axes: [
        [{ size: batch, stride: kv * time * width }],
        [{ size: time, stride: width }],
        headAxis(time * width),
        [{ size: width, stride: 1 }],
      ],
    },
  ];
}
