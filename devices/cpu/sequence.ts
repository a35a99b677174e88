/**
 * Launches that follow one another as machine code, played by machine code: from one to the next it
 * takes some nanoseconds, and a thread that waits for others brings what it will read next into the
 * cache meanwhile.
 */

import { type Address, Assembler } from "../../kernels/render/x64/encoding.ts";
import { RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP } from "../../kernels/render/x64/places.ts";
import { notifyArrivals, waitForArrivals, WORDS } from "./control.ts";
import { addressOf, type NativeCalls } from "./native.ts";
import {
  call,
  fetchAdd,
  jumpIfZero,
  LINE,
  pause,
  prefetch,
  stack,
  word,
  yieldCore,
} from "./sequence_instructions.ts";

/** A launch for one thread, with addresses of the process. */
export interface SequenceLaunch {
  /** 0 where this thread has no part in it. */
  readonly code: number;
  /** Called on the same operands before the thread's first piece. */
  readonly prepare: number;
  /** What `prepare` left in scratch memory, by a number: not called again for the same. */
  readonly prepared: number;
  readonly operands: readonly bigint[];
  readonly items: number;
  readonly grain: number;
  /** The word from which pieces are taken; none where the first piece is all. */
  readonly counter?: bigint;
  /** The first item of this thread's first piece, or −1: from the word. */
  readonly first: number;
  /** Added to what the word says. */
  readonly from: number;
  readonly waits: boolean;
  /** What this thread reads first, here or soon after. */
  readonly ahead?: { readonly begin: bigint; readonly end: bigint };
}

/** Words of 64 bits of a launch, by number. */
const LAUNCH = {
  ...{ code: 0, operands: 1, prepare: 2, prepared: 3, items: 4, grain: 5, counter: 6 },
  ...{ first: 7, from: 8, waits: 9, aheadBegin: 10, aheadEnd: 11, count: 12 },
} as const;

/** Words of 64 bits that say what to play, and what came of it. */
const STATE = {
  /** The next launch, and the end of those to play. */
  ...{ at: 0, end: 1 },
  /** Arrivals that the last barrier waited for. */
  target: 2,
  /** Whether the next launch need not wait. */
  passed: 3,
  ...{ outcome: 4, arrived: 5, sleepers: 6, threads: 7, spins: 8, count: 9 },
} as const;

/** Why the code came back. */
const OUTCOMES = { done: 0, waiting: 1, last: 2 } as const;

/**
 * Looks at a barrier before a thread sleeps. After the first of them, some microseconds, others may
 * have its core: a thread that is waited for may wait for that.
 */
const SPINS = 1000;
const SPINS_ALONE = 64;

const SAVED = [RBX, RBP, 12, 13, 14, 15];
/** Registers that kernels leave as they are. */
const [AT, BEGIN, END, STATE_AT, ARRIVED, TARGET] = [RBX, RBP, 12, 13, 14, 15];

/** Bytes of the stack: the range of items, and what was prepared and asked for last. */
const FRAME = { range: 0, prepared: 8, asked: 16, asking: 24, bytes: 40 } as const;

/** The function: takes the address of the state's words. */
export function sequenceCode(): Uint8Array<ArrayBuffer> {
  const asm = new Assembler();
  let labels = 0;
  const label = () => labels++;
  const [loop, start, run, take, next, leave] = Array.from({ length: 6 }, label);
  const field = (name: keyof typeof LAUNCH) => word(AT, LAUNCH[name]);
  const state = (name: keyof typeof STATE) => word(STATE_AT, STATE[name]);
  const isZero = (register: number, to: number) => jumpIfZero(asm, register, to);

  for (const register of SAVED) asm.push(register);
  asm.aluConstant("sub", RSP, FRAME.bytes);
  asm.move(STATE_AT, RDI);
  asm.move(AT, state("at"));
  asm.move(END, state("end"));
  asm.move(ARRIVED, state("arrived"));
  asm.move(TARGET, state("target"));
  asm.set(RAX, 0);
  for (const place of [FRAME.prepared, FRAME.asking]) asm.store(stack(place), RAX);
  asm.move(RAX, state("passed"));
  asm.aluConstant("cmp", RAX, 0);
  asm.jumpIf("ne", start);

  asm.label(loop);
  asm.set(RCX, OUTCOMES.done);
  asm.alu("cmp", AT, END);
  asm.jumpIf("eq", leave);
  asm.move(RAX, field("waits"));
  isZero(RAX, start);
  barrier(asm, { label, start, leave, field, state });

  asm.label(start);
  asm.move(RAX, field("code"));
  isZero(RAX, next);
  asm.move(BEGIN, field("first"));
  asm.aluConstant("cmp", BEGIN, 0);
  asm.jumpIf("lt", take);

  asm.label(run);
  asm.alu("cmp", BEGIN, field("items"));
  asm.jumpIf("ge", next);
  const ready = label();
  asm.move(RAX, field("prepare"));
  isZero(RAX, ready);
  asm.move(RCX, field("prepared"));
  asm.alu("cmp", RCX, stack(FRAME.prepared));
  asm.jumpIf("eq", ready);
  asm.store(stack(FRAME.prepared), RCX);
  asm.move(RDI, field("operands"));
  asm.address(RSI, stack(FRAME.range));
  call(asm, RAX);
  asm.label(ready);
  asm.move(RAX, field("grain"));
  asm.alu("add", RAX, BEGIN);
  asm.move(RCX, field("items"));
  asm.alu("cmp", RCX, RAX);
  asm.moveIf("lt", RAX, RCX);
  asm.store(stack(FRAME.range), BEGIN, 32);
  asm.store(stack(FRAME.range + 4), RAX, 32);
  asm.move(RDI, field("operands"));
  asm.address(RSI, stack(FRAME.range));
  asm.move(RAX, field("code"));
  call(asm, RAX);

  asm.label(take);
  asm.move(RDX, field("counter"));
  isZero(RDX, next);
  asm.move(RAX, field("grain"));
  fetchAdd(asm, RDX, RAX);
  asm.signExtend(RAX, RAX);
  asm.move(BEGIN, field("from"));
  asm.alu("add", BEGIN, RAX);
  asm.jump(run);

  asm.label(next);
  asm.aluConstant("add", AT, 8 * LAUNCH.count);
  asm.jump(loop);

  asm.label(leave);
  asm.store(state("at"), AT);
  asm.store(state("target"), TARGET);
  asm.store(state("outcome"), RCX);
  asm.aluConstant("add", RSP, FRAME.bytes);
  for (const register of SAVED.toReversed()) asm.pop(register);
  asm.set(RAX, 0);
  asm.return();
  return asm.finish(new Uint8Array());
}

/** Waits for all threads, or leaves: where it takes long, and where others may sleep. */
function barrier(
  asm: Assembler,
  { label, start, leave, field, state }: {
    readonly label: () => number;
    readonly start: number;
    readonly leave: number;
    readonly field: (name: keyof typeof LAUNCH) => Address;
    readonly state: (name: keyof typeof STATE) => Address;
  },
): void {
  const [last, look, rest, same] = Array.from({ length: 4 }, label);
  asm.alu("add", TARGET, state("threads"));
  asm.set(RAX, 1);
  fetchAdd(asm, ARRIVED, RAX);
  asm.signExtend(RAX, RAX);
  asm.aluConstant("add", RAX, 1);
  asm.alu("cmp", RAX, TARGET);
  asm.jumpIf("eq", last);
  // Goes on asking where it stopped at the barrier before, if that was for the same.
  asm.move(RCX, field("aheadEnd"));
  asm.move(RAX, field("aheadBegin"));
  asm.move(RDX, stack(FRAME.asked));
  asm.alu("cmp", RAX, stack(FRAME.asking));
  asm.jumpIf("eq", same);
  asm.store(stack(FRAME.asking), RAX);
  asm.move(RDX, RAX);
  asm.label(same);
  asm.move(RSI, state("spins"));

  asm.label(look);
  asm.signExtend(RAX, word(ARRIVED, 0));
  asm.store(stack(FRAME.asked), RDX);
  asm.alu("cmp", RAX, TARGET);
  asm.jumpIf("ge", start);
  asm.alu("cmp", RDX, RCX);
  asm.jumpIf("ge", rest);
  prefetch(asm, RDX);
  asm.aluConstant("add", RDX, LINE);
  asm.jump(look);
  asm.label(rest);
  pause(asm);
  asm.aluConstant("sub", RSI, 1);
  asm.aluConstant("cmp", RSI, SPINS - SPINS_ALONE);
  asm.jumpIf("ge", look);
  yieldCore(asm);
  asm.move(RCX, field("aheadEnd"));
  asm.aluConstant("cmp", RSI, 0);
  asm.jumpIf("ne", look);
  asm.set(RCX, OUTCOMES.waiting);
  asm.jump(leave);

  asm.label(last);
  asm.move(RDX, state("sleepers"));
  asm.signExtend(RAX, word(RDX, 0));
  jumpIfZero(asm, RAX, start);
  asm.set(RCX, OUTCOMES.last);
  asm.jump(leave);
}

/** Launches of one thread, ready to be played. */
export interface Sequence {
  /**
   * Plays launches begin … end − 1; `barriers` were passed since the run began.
   * @returns the barriers that were passed in all
   */
  play(begin: number, end: number, barriers: number): number;
  /** Plays a launch without waiting for anyone. */
  playOne(launch: number): void;
}

/** Makes a sequence. Launches that wait meet the other threads by the device's shared words. */
export function createSequence(
  native: NativeCalls,
  code: number,
  launches: readonly SequenceLaunch[],
  { words, threads }: { readonly words: Int32Array; readonly threads: number },
): Sequence {
  const operands = launches.reduce((sum, launch) => sum + launch.operands.length, 0);
  const memory = new BigInt64Array(STATE.count + LAUNCH.count * launches.length + operands);
  const base = addressOf(memory.buffer);
  const place = (index: number) => base + BigInt(8 * index);
  const wordsAt = addressOf(words.buffer);
  const [records, lists] = [STATE.count, STATE.count + LAUNCH.count * launches.length];
  memory[STATE.arrived] = wordsAt + BigInt(4 * WORDS.arrived);
  memory[STATE.sleepers] = wordsAt + BigInt(4 * WORDS.sleepers);
  memory[STATE.threads] = BigInt(threads);
  memory[STATE.spins] = BigInt(SPINS);
  let list = lists;
  launches.forEach((launch, i) => {
    const { code, prepare, prepared, items, grain, counter, first, from, waits, ahead } = launch;
    const values: Record<Exclude<keyof typeof LAUNCH, "count">, number | bigint> = {
      ...{ code, operands: place(list), prepare, prepared, items, grain, counter: counter ?? 0 },
      ...{ first, from, waits: waits ? 1 : 0 },
      ...{ aheadBegin: ahead?.begin ?? 0, aheadEnd: ahead?.end ?? 0 },
    };
    for (const [name, value] of Object.entries(values)) {
      memory[records + LAUNCH.count * i + LAUNCH[name as keyof typeof values]] = BigInt(value);
    }
    memory.set(launch.operands, list);
    list += launch.operands.length;
  });
  const call = native.bindWords(code, memory);
  const at = (launch: number) => place(records + LAUNCH.count * launch);
  const set = (begin: number, end: number, passed: boolean) => {
    memory[STATE.at] = at(begin);
    memory[STATE.end] = at(end);
    memory[STATE.passed] = passed ? 1n : 0n;
  };
  return {
    playOne: (launch) => {
      set(launch, launch + 1, true);
      call();
    },
    play: (begin, end, barriers) => {
      set(begin, end, false);
      memory[STATE.target] = BigInt(threads * barriers);
      while (true) {
        call();
        const [outcome, target] = [STATE.outcome, STATE.target].map((i) => Number(memory[i]));
        if (outcome === OUTCOMES.done) return target / threads;
        if (outcome === OUTCOMES.waiting) waitForArrivals(words, target);
        else notifyArrivals(words);
        memory[STATE.passed] = 1n;
      }
    },
  };
}
