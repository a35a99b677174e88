/** Folding what the threads of a group have, always in the same order on one device. */

import { add, div, i32, lessThan, max, mul, rem, sub } from "../language/language.ts";
import { type GpuBlock, type Subgroup, SUBGROUP_SIZES } from "./block.ts";
import type { Float, Place } from "./language.ts";

/** Threads whose values become one: `lanes` of them, `apart` from one another; powers of 2. */
export interface Lanes {
  readonly lanes: number;
  readonly apart: number;
}

/** Puts two values together, in either order the same; values have numbers. */
type Combine = (a: Float, b: Float, value: number) => Float;

/**
 * Combines values of the threads of a row, `lanes` of them `apart` from one another, each value on its
 * own; every one of the threads gets the results. Scratch memory has room for the values of all threads.
 */
export function foldLanes(
  k: GpuBlock,
  scratch: Place<"f32">,
  lanes: number,
  values: readonly Float[],
  combine: Combine,
  apart = 1,
): Float[] {
  const of = { lanes, apart };
  const results = values.map((value) => k.variable(value));
  k.bySubgroups(
    (subgroup) => foldSubgroups(k, subgroup, scratch, of, results, combine),
    () => foldAsTree(k, scratch, of, results, combine),
  );
  return results;
}

/**
 * Folds variables where there are subgroups: those of each by shuffles, then what is left of a row,
 * one of each subgroup, through shared memory.
 */
export function foldSubgroups(
  k: GpuBlock,
  { size, shuffle }: Subgroup,
  scratch: Place<"f32">,
  { lanes, apart }: Lanes,
  results: readonly Float[],
  combine: Combine,
): void {
  const { least, most } = SUBGROUP_SIZES;
  const end = lanes * apart;
  for (let mask = apart; mask < Math.min(end, most); mask *= 2) {
    const step = () => {
      const others = results.map((own) => shuffle(own, mask));
      results.forEach((own, i) => k.set(own, combine(own, others[i], i)));
    };
    if (mask < least) step();
    else k.if(lessThan(i32(mask), size), step);
  }
  if (end <= least) return;
  k.if(lessThan(size, i32(end)), () => {
    const step = k.let(max(size, i32(apart)));
    const at = (first: typeof size, i: number) => add(first, i32(i * k.threads));
    k.if(lessThan(rem(k.thread, size), i32(apart)), () => {
      results.forEach((own, i) => k.write(scratch, at(k.thread, i), own));
    });
    k.barrier();
    const inRow = k.let(rem(k.thread, i32(end)));
    const first = k.let(add(sub(k.thread, inRow), rem(inRow, i32(apart))));
    results.forEach((own, i) => k.set(own, k.read(scratch, at(first, i))));
    k.for(1, k.let(div(i32(end), step)), 1, (part) => {
      const from = k.let(add(first, mul(part, step)));
      results.forEach((own, i) => {
        k.set(own, combine(own, k.read(scratch, at(from, i)), i));
      });
    });
    k.barrier();
  });
}

/** A tree in shared memory. */
function foldAsTree(
  k: GpuBlock,
  scratch: Place<"f32">,
  { lanes, apart }: Lanes,
  results: readonly Float[],
  combine: Combine,
): void {
  const end = lanes * apart;
  const at = (thread: typeof k.thread, value: number) => add(thread, i32(value * k.threads));
  const inRow = k.let(rem(k.thread, i32(end)));
  results.forEach((own, i) => k.write(scratch, at(k.thread, i), own));
  k.barrier();
  for (let half = end / 2; half >= apart; half /= 2) {
    k.if(lessThan(inRow, i32(half)), () => {
      results.forEach((_, i) => {
        const other = k.read(scratch, at(add(k.thread, i32(half)), i));
        k.write(scratch, at(k.thread, i), combine(k.read(scratch, at(k.thread, i)), other, i));
      });
    });
    k.barrier();
  }
  const first = k.let(add(sub(k.thread, inRow), rem(inRow, i32(apart))));
  results.forEach((own, i) => k.set(own, k.read(scratch, at(first, i))));
  k.barrier();
}

/** Adds up what threads of one column have, `width` of them apart, in the first `width` threads. */
export function foldShares(
  k: GpuBlock,
  scratch: Place<"f32">,
  values: readonly Float[],
  width: number,
  shares: number,
): Float[] {
  values.forEach((value, i) => k.write(scratch, add(k.thread, i32(i * k.threads)), value));
  k.barrier();
  const sums = values.map((value, i) => {
    const sum = k.variable(value);
    k.if(lessThan(k.thread, i32(width)), () => {
      for (let s = 1; s < shares; s++) {
        k.set(sum, add(sum, k.read(scratch, add(k.thread, i32(i * k.threads + s * width)))));
      }
    });
    return sum;
  });
  k.barrier();
  return sums;
}
