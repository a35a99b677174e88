/** What the code that plays sequences is written with. */

import type { Address, Assembler } from "../../kernels/render/x64/encoding.ts";
import { RAX, RSP } from "../../kernels/render/x64/places.ts";

/** Bytes that memory gives at a time. */
export const LINE = 64;

/** A word of 64 bits after an address in a register. */
export const word = (base: number, index: number): Address => ({ base, scale: 1, disp: 8 * index });
/** A place on the stack. */
export const stack = (disp: number): Address => ({ base: RSP, scale: 1, disp });

/** Adds a register (below r8) to a word of memory, and gives what was there. */
export function fetchAdd(asm: Assembler, base: number, register: number): void {
  // lock xadd [base], register: 32 bits.
  asm.bytes.push(0xf0, ...(base >= 8 ? [0x41] : []), 0x0f, 0xc1);
  asm.bytes.push(register << 3 | base & 7);
}

/** Calls the function whose address is in a register below r8. */
export const call = (asm: Assembler, register: number) => asm.bytes.push(0xff, 0xd0 | register);
/** Leaves the core to its other thread for a moment. */
export const pause = (asm: Assembler) => asm.bytes.push(0xf3, 0x90);
/** Lets other threads have the core: sched_yield, which takes rax, rcx and r11. */
export function yieldCore(asm: Assembler): void {
  asm.set(RAX, 24);
  // syscall
  asm.bytes.push(0x0f, 0x05);
}
/** Brings the line at a register below rsp into the second cache (prefetcht1). */
export const prefetch = (asm: Assembler, register: number) =>
  asm.bytes.push(0x0f, 0x18, 0x10 | register);

/** Jumps where a register is 0. */
export function jumpIfZero(asm: Assembler, register: number, to: number): void {
  asm.aluConstant("cmp", register, 0);
  asm.jumpIf("eq", to);
}
