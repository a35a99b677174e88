/** What an x86-64 processor can do, asked by a few instructions of its own. */

import type { X64Level } from "../x64.ts";

/**
 * A function as `renderX64` makes them, that writes six 32-bit words to its first address: the
 * highest leaf of cpuid, ecx of leaf 1, ebx of leaf 7, the lower half of XCR0, where the system lets
 * it be read, and ecx and edx of leaf 7 (Intel's manual, volume 1, chapters 14, 15 and 18).
 */
// deno-fmt-ignore
export const CPUID_CODE = new Uint8Array([
  0x53,                         // push rbx
  0x49, 0x89, 0xf8,             // mov r8, rdi
  0x31, 0xc0,                   // xor eax, eax
  0x0f, 0xa2,                   // cpuid
  0x41, 0x89, 0x00,             // mov [r8], eax
  0xb8, 0x01, 0, 0, 0,          // mov eax, 1
  0x31, 0xc9,                   // xor ecx, ecx
  0x0f, 0xa2,                   // cpuid
  0x41, 0x89, 0x48, 0x04,       // mov [r8+4], ecx
  0xb8, 0x07, 0, 0, 0,          // mov eax, 7
  0x31, 0xc9,                   // xor ecx, ecx
  0x0f, 0xa2,                   // cpuid
  0x41, 0x89, 0x58, 0x08,       // mov [r8+8], ebx
  0x41, 0x89, 0x48, 0x10,       // mov [r8+16], ecx
  0x41, 0x89, 0x50, 0x14,       // mov [r8+20], edx
  0x41, 0x8b, 0x40, 0x04,       // mov eax, [r8+4]
  0x0f, 0xba, 0xe0, 0x1b,       // bt eax, 27
  0x73, 0x09,                   // jae past the next three
  0x31, 0xc9,                   // xor ecx, ecx
  0x0f, 0x01, 0xd0,             // xgetbv
  0x41, 0x89, 0x40, 0x0c,       // mov [r8+12], eax
  0x31, 0xc0,                   // xor eax, eax
  0x5b,                         // pop rbx
  0xc3,                         // ret
]);

const bits = (...places: readonly number[]) =>
  places.reduce((mask, place) => (mask | 1 << place) >>> 0, 0);
const has = (word: number, mask: number) => (word & mask) >>> 0 === mask;

/** FMA, XSAVE in use by the system, AVX, conversions of f16. */
const LEAF1 = bits(12, 27, 28, 29);
const AVX2 = bits(5);
/** AVX-512 F, DQ, BW and VL. */
const AVX512 = bits(16, 17, 30, 31);
/** Products of bytes, AVX512_VNNI. */
const VNNI = bits(11);
/** Tiles, and their products of bf16. */
const AMX = bits(22, 24);
/**
 * What the system saves of a thread: SSE and AVX state, the masks and upper parts of AVX-512, and
 * what tiles are and hold.
 */
const SAVES_AVX = bits(1, 2);
const SAVES_AVX512 = bits(5, 6, 7);
const SAVES_TILES = bits(17, 18);

/** Words that the function writes. */
export const CPUID_WORDS = 6;

/** The highest level of the words that the function writes; undefined below AVX2 with FMA. */
export function levelOf(
  [leaves, leaf1, leaf7, state, leaf7c, leaf7d]: ArrayLike<number> & Iterable<number>,
): X64Level | undefined {
  const avx2 = leaves >= 7 && has(leaf1, LEAF1) && has(leaf7, AVX2) && has(state, SAVES_AVX);
  if (!avx2) return undefined;
  if (!has(leaf7, AVX512) || !has(state, SAVES_AVX512)) return "avx2";
  if (!has(leaf7c, VNNI)) return "avx512";
  return has(leaf7d, AMX) && has(state, SAVES_TILES) ? "amx" : "vnni";
}
