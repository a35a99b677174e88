/**
 * Registers of the machine for those of a lowered kernel, by a linear scan over their lifetimes
 * (Poletto and Sarkar, Linear Scan Register Allocation). A lifetime reaches from the first to the
 * last mention, and to the end of every loop that it was there before. What does not fit lies on
 * the stack for all of its life: what is mentioned least for its length.
 */

import { type Instruction, type LinearCode, type RegisterKind, registersOf } from "./linear.ts";

/** Where each register of the code is. */
export interface Allocation {
  /** A machine register, or −1 − a place on the stack. */
  readonly places: Int32Array;
  /** Places on the stack. */
  readonly spilled: number;
}

interface Lifetime {
  readonly register: number;
  begin: number;
  end: number;
  weight: number;
}

/** What one more loop around a mention multiplies its weight with. */
const LOOP_WEIGHT = 8;
const MOST_LOOPS = 8;

/** Lifetimes of all registers of a kind, in instructions: read at 2i, written at 2i + 1. */
function lifetimes(code: LinearCode, kind: RegisterKind): Lifetime[] {
  const { instructions, loops, kinds } = code;
  const lives = new Map<number, Lifetime>();
  const opens = new Map(loops.map(({ begin }, i) => [begin, i]));
  // The loops around an instruction, outer ones first.
  const open: number[] = [];
  const mention = (register: number, at: number, isRead: boolean) => {
    if (kinds[register] !== kind) return;
    let life = lives.get(register);
    if (life === undefined) {
      life = { register, begin: at, end: at, weight: 0 };
      // Read before it is written: it comes from the round before.
      if (isRead && open.length > 0) life.begin = 2 * loops[open[0]].begin;
      lives.set(register, life);
    }
    life.end = Math.max(life.end, at);
    life.weight += LOOP_WEIGHT ** Math.min(open.length, MOST_LOOPS);
    for (const index of open) {
      const { begin, end } = loops[index];
      if (life.begin <= 2 * begin) life.end = Math.max(life.end, 2 * end + 1);
    }
  };
  code.parameters.forEach((register) => mention(register, 0, false));
  instructions.forEach((each: Instruction, i) => {
    const opened = opens.get(i);
    if (opened !== undefined) open.push(opened);
    for (const operand of each.from) {
      for (const register of registersOf(operand)) mention(register, 2 * i, true);
    }
    for (const register of each.late ?? []) mention(register, 2 * i + 2, true);
    if (each.to !== undefined) mention(each.to, 2 * i + 1, false);
    while (open.length > 0 && loops[open[open.length - 1]].end === i) open.pop();
  });
  return [...lives.values()];
}

/** The registers whose place a written one would best take over. */
function hints({ instructions }: LinearCode): Map<number, number[]> {
  const wanted = new Map<number, number[]>();
  for (const { op, to, from } of instructions) {
    if (to === undefined) continue;
    const sources = op === "fma"
      ? [from[2], from[0], from[1]]
      : op === "move" || op === "dot" || op === "integer" || op === "shift" || op === "vector" ||
          op === "permute"
      ? from.slice(0, 1)
      : [];
    const registers = sources.filter((each) => typeof each === "number");
    wanted.set(to, [...wanted.get(to) ?? [], ...registers]);
  }
  return wanted;
}

/** Allocates the registers of one kind among those of the machine. */
export function allocate(
  code: LinearCode,
  kind: RegisterKind,
  machine: readonly number[],
): Allocation {
  const places = new Int32Array(code.kinds.length);
  const lives = lifetimes(code, kind).sort((a, b) => a.begin - b.begin || a.end - b.end);
  const wanted = hints(code);
  const cost = ({ weight, begin, end }: Lifetime) => weight / (end - begin + 1);
  const free = [...machine];
  const active: Lifetime[] = [];
  const last = new Map<number, number>();
  let spilled = 0;
  const spill = (register: number) => {
    places[register] = -1 - spilled++;
  };
  for (const life of lives) {
    for (let i = active.length - 1; i >= 0; i--) {
      if (active[i].end >= life.begin) continue;
      free.push(places[active[i].register]);
      active.splice(i, 1);
    }
    if (free.length > 0) {
      const near = (wanted.get(life.register) ?? []).map((source) => last.get(source));
      const at = free.findLastIndex((place) => near.includes(place));
      const [place] = at < 0 ? free.splice(0, 1) : free.splice(at, 1);
      places[life.register] = place;
      active.push(life);
      last.set(life.register, place);
      continue;
    }
    const cheapest = active.reduce((a, b) => cost(a) <= cost(b) ? a : b);
    if (cost(cheapest) >= cost(life)) {
      spill(life.register);
      continue;
    }
    places[life.register] = places[cheapest.register];
    last.set(life.register, places[life.register]);
    spill(cheapest.register);
    active[active.indexOf(cheapest)] = life;
  }
  return { places, spilled };
}
