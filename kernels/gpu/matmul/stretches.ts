/**
 * Sides of a product that pass through shared memory: a stretch of the length at a time, [step][line],
 * from where threads read four neighbouring lines at once.
 */

import { add, div, i32, lessThan, min, mul, rem, select, sub } from "../../language/language.ts";
import type { GpuBlock } from "../block.ts";
import { f32, type Float, type Index, type Place } from "../language.ts";

/** Threads along the rows and along the columns of a tile; those of a row are side by side. */
export const LANES = 16;
/** Threads of a group. */
export const TILE_THREADS = LANES * LANES;

/** Elements of one side of a product: of `lines` rows or columns, a multiple of 16, each of the length. */
export interface Side {
  readonly lines: number;
  /** Reads an element; the line may be beyond the last, the step is not beyond the end. */
  read(line: Index, step: Index): Float;
  /**
   * Reads four neighbours in memory, from a line or a step on that is a multiple of 4, where the
   * lengths are multiples of 4 as well.
   */
  read4?(line: Index, step: Index): readonly Float[];
  /** Whether neighbouring steps lie side by side in memory, or neighbouring lines do. */
  readonly lies: "along" | "across";
}

/** A side that lies in shared memory as a whole, [step][line]. */
export interface SharedSide {
  readonly lines: number;
  readonly lies: "shared";
  readonly place: Place<"f32">;
  /** Elements from one step to the next, a multiple of 4. */
  readonly pitch: number;
}

/** Shared memory of the products of a kernel: two stretches of each side. */
export interface Stretches {
  readonly place: Place<"f32">;
  /** Elements. */
  readonly size: number;
  /** Steps of a stretch, a multiple of 4. */
  readonly depth: number;
}

/** Room for stretches of so many steps, of sides of so many lines in all; at least `least` elements. */
export function stretches(k: GpuBlock, lines: number, depth: number, least = 0): Stretches {
  const size = Math.max(least, 2 * depth * lines);
  return { place: k.shared("f32", size), size, depth };
}

/** The steps of a product: from 0 up to a length, or some that only the kernel knows. */
export type Steps = number | {
  readonly begin: Index;
  readonly end: Index;
  /** Whether they are whole stretches. */
  readonly whole: boolean;
};

/** Lines within which those of a step are turned: all banks of shared memory, once or twice. */
const turnedLines = (lines: number): number => lines % 64 === 0 ? 64 : lines === 32 ? 32 : 0;

/** Steps within which the lines of a stretch lie alike. */
export const turnOf = ({ depth }: Stretches): number => depth < 16 ? depth : 4;

/**
 * Where in a step of a stretch a line lies. Where threads side by side write 8 lines of 16 steps, four
 * steps each, the lines of every four steps are turned by 8, to have banks of their own. Where they
 * write 16 lines of 8 steps, two share a bank, which costs less than turning.
 */
export function turned(
  k: GpuBlock,
  room: Stretches,
  { lines, lies }: Side,
  line: Index,
  step: Index,
): Index {
  const within = turnedLines(lines);
  if (within === 0 || lies === "across" || turnOf(room) === room.depth) return line;
  const own = k.let(rem(line, i32(within)));
  return add(sub(line, own), rem(add(own, mul(div(step, i32(4)), i32(8))), i32(within)));
}

/** How the elements of a side lie in a stretch in shared memory. */
export interface Layout {
  /** Where an element lies. */
  at(line: Index, step: Index): Index;
  /** Elements from one to the next of four that are neighbours in memory; 1 lets them be written at once. */
  readonly apart: number;
  /** What is kept of an element. */
  stored(value: Float): Float;
}

/** As `addProduct` reads them: [step][line], turned. */
export const turnedLayout = (k: GpuBlock, room: Stretches, side: Side): Layout => ({
  at: (line, step) => add(mul(step, i32(side.lines)), turned(k, room, side, line, step)),
  apart: side.lies === "across" ? 1 : side.lines,
  stored: (value) => value,
});

/** Part of a side on its way to shared memory: in the registers of a thread. */
export interface Staging {
  /** Reads a stretch from a step on. */
  fetch(from: Index): void;
  /** Writes what was fetched to shared memory, from an element on. */
  put(first: Index): void;
}

/** A thread's piece of a stretch: where it is from, where it goes, and what is on its way. */
interface Part {
  /** Pieces up to that of the last thread. */
  readonly end: number;
  readonly own: Index;
  readonly line: Index;
  readonly step: Index;
  readonly to: Index;
  readonly values: readonly Float[];
}

/** Calls a body for every part, by the threads for which so many pieces have one. */
function share(k: GpuBlock, parts: readonly Part[], pieces: number, body: (part: Part) => void) {
  for (const part of parts) {
    if (part.end <= pieces) body(part);
    else k.if(lessThan(part.own, i32(pieces)), () => body(part));
  }
}

/** How a side gets to shared memory: zeros beyond the end of the length. */
export function staging(
  k: GpuBlock,
  room: Stretches,
  side: Side,
  steps: Steps,
  layout = turnedLayout(k, room, side),
): Staging {
  const { lines, lies, read4 } = side;
  const { depth } = room;
  const width = read4 === undefined ? 1 : 4;
  const pieces = lines * depth / width;
  const along = depth / (lies === "along" ? width : 1);
  const across = lines / (lies === "across" ? width : 1);
  const whole = typeof steps === "number" ? steps % depth === 0 : steps.whole;
  const last = typeof steps === "number" ? i32(steps) : steps.end;
  const read = (line: Index, step: Index) => read4?.(line, step) ?? [side.read(line, step)];
  const parts = Array.from({ length: Math.ceil(pieces / k.threads) }, (_, part): Part => {
    const own = k.let(add(k.thread, i32(part * k.threads)));
    const [line, step] = lies === "along"
      ? [div(own, i32(along)), mul(rem(own, i32(along)), i32(width))]
      : [mul(rem(own, i32(across)), i32(width)), div(own, i32(across))];
    const at = { line: k.let(line), step: k.let(step) };
    return {
      ...{ end: (part + 1) * k.threads, own, ...at },
      to: k.let(layout.at(at.line, at.step)),
      values: Array.from({ length: width }, () => k.variable(f32(0))),
    };
  });
  return {
    fetch: (from) =>
      share(k, parts, pieces, ({ line, step, values }) => {
        const wanted = k.let(add(from, step));
        const found = whole
          ? read(line, wanted)
          : read(line, k.let(min(wanted, sub(last, i32(lies === "along" ? width : 1)))));
        values.forEach((value, i) =>
          k.set(value, whole ? found[i] : select(lessThan(wanted, last), found[i], f32(0)))
        );
      }),
    put: (first) =>
      share(k, parts, pieces, ({ to, values }) => {
        const at = k.let(add(first, to));
        const kept = values.map((value) => layout.stored(value));
        if (kept.length === 4 && layout.apart === 1) {
          const [a, b, c, d] = kept;
          k.write4(room.place, at, [a, b, c, d]);
        } else {
          kept.forEach((value, i) => k.write(room.place, add(at, i32(i * layout.apart)), value));
        }
      }),
  };
}

/** A side on its way to shared memory, and where in a stretch its elements begin. */
export interface Staged {
  readonly stage: Staging;
  readonly at: number;
}

/**
 * Walks some steps stretch by stretch: `multiply` gets the first step of one that lies in shared memory
 * from an element on, while the next, `size` elements further or back, is on its way. All threads of
 * the group take part; what is shared already must be there for all of them.
 */
export function eachStretch(
  k: GpuBlock,
  { depth }: Stretches,
  staged: readonly Staged[],
  size: number,
  steps: Steps,
  multiply: (from: Index, buffer: Index) => void,
): void {
  const { begin, end } = typeof steps === "number" ? { begin: i32(0), end: i32(steps) } : steps;
  const fetch = (from: Index) => staged.forEach(({ stage }) => stage.fetch(from));
  const put = (first: Index) => staged.forEach(({ stage, at }) => stage.put(add(first, i32(at))));
  const buffer = k.variable(i32(0));
  fetch(begin);
  put(buffer);
  k.barrier();
  k.for(begin, end, depth, (from) => {
    const next = k.let(add(from, i32(depth)));
    const more = k.let(lessThan(next, end));
    k.if(more, () => fetch(next));
    multiply(from, buffer);
    k.if(more, () => {
      k.set(buffer, sub(i32(size), buffer));
      put(buffer);
    });
    k.barrier();
  });
}

/** As `eachStretch`, of a whole number of stretches that are written out one after another. */
export function eachWrittenStretch(
  k: GpuBlock,
  { depth }: Stretches,
  { stage, at }: Staged,
  size: number,
  steps: number,
  multiply: (from: number, buffer: Index) => void,
): void {
  const buffer = (from: number) => i32(from / depth % 2 * size);
  const put = (from: number) => stage.put(add(buffer(from), i32(at)));
  stage.fetch(i32(0));
  put(0);
  k.barrier();
  for (let from = 0; from < steps; from += depth) {
    const next = from + depth;
    if (next < steps) stage.fetch(i32(next));
    multiply(from, buffer(from));
    if (next < steps) put(next);
    k.barrier();
  }
}
