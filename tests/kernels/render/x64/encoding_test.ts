import { assertEquals, assertThrows } from "@std/assert";
import { type Address, Assembler, type Place } from "../../../../kernels/render/x64/encoding.ts";
import {
  SHIFT_DIGITS as d,
  SPECIAL_OPCODES as s,
  TILE_OPCODES as t,
  VECTOR_OPCODES as v,
} from "../../../../kernels/render/x64/opcodes.ts";

const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi] = [0, 1, 2, 3, 4, 5, 6, 7];
const at = (base: number, disp: number, index?: number, scale: Address["scale"] = 1): Address => ({
  base,
  disp,
  scale,
  ...(index === undefined ? {} : { index }),
});

/** What GNU as makes of an instruction in Intel's syntax, and the call that encodes it. */
type Case = readonly [text: string, bytes: string, encode: (a: Assembler) => void];

const INTEGERS: readonly Case[] = [
  ["{load} mov r9, rax", "4c8bc8", (a) => a.move(9, rax)],
  ["mov rax, [rsp+0x40]", "488b442440", (a) => a.move(rax, at(rsp, 0x40))],
  ["mov rbx, [r13]", "498b5d00", (a) => a.move(rbx, at(13, 0))],
  ["mov [rsp+8], r12", "4c89642408", (a) => a.store(at(rsp, 8), 12)],
  ["mov [r12+rcx*4-4], edx", "4189548cfc", (a) => a.store(at(12, -4, rcx, 4), rdx, 32)],
  ["mov rdx, -5", "48c7c2fbffffff", (a) => a.set(rdx, -5)],
  ["mov r9d, 0xfffffff0", "41b9f0ffffff", (a) => a.set(9, 0xfffffff0)],
  ["movsxd rcx, dword ptr [rsi+4]", "48634e04", (a) => a.signExtend(rcx, at(rsi, 4))],
  ["lea r10, [rbp+r15*8+0x1234]", "4e8d94fd34120000", (a) => a.address(10, at(rbp, 0x1234, 15, 8))],
  ["{load} add rax, r8", "4903c0", (a) => a.alu("add", rax, 8)],
  ["add rdx, 0x7f", "4883c27f", (a) => a.aluConstant("add", rdx, 0x7f)],
  ["sub rbx, 0x80", "4881eb80000000", (a) => a.aluConstant("sub", rbx, 0x80)],
  ["and rsp, -64", "4883e4c0", (a) => a.aluConstant("and", rsp, -64)],
  ["cmp r14, [rsp+0x10]", "4c3b742410", (a) => a.alu("cmp", 14, at(rsp, 0x10))],
  ["imul rax, r11", "490fafc3", (a) => a.multiply(rax, 11)],
  ["imul r8, rdx, 0x30", "4c6bc230", (a) => a.multiplyConstant(8, rdx, 0x30)],
  ["imul r8, rdx, 0x300", "4c69c200030000", (a) => a.multiplyConstant(8, rdx, 0x300)],
  ["neg rdi", "48f7df", (a) => a.negate(rdi)],
  ["shl rax, 5", "48c1e005", (a) => a.shift(rax, "left", 5)],
  ["shr r15, 33", "49c1ef21", (a) => a.shift(15, "right", 33)],
  ["cmovl rax, r9", "490f4cc1", (a) => a.moveIf("lt", rax, 9)],
  ["push r12", "4154", (a) => a.push(12)],
  ["pop rbx", "5b", (a) => a.pop(rbx)],
  ["prefetcht0 [r9+0x1000]", "410f188900100000", (a) => a.prefetch(at(9, 0x1000), 1)],
  ["prefetcht0 [rax+rcx*8+4]", "0f184cc804", (a) => a.prefetch(at(rax, 4, rcx, 8), 1)],
  ["prefetcht1 [rbx+0x40]", "0f185340", (a) => a.prefetch(at(rbx, 0x40), 2)],
  ["ret", "c3", (a) => a.return()],
];

type Op = typeof v[keyof typeof v] | typeof s[keyof typeof s] | typeof t[keyof typeof t];
type Use = Parameters<Assembler["vector"]>[4];
const vector = (op: Op, reg: number, second: number, rm: Place, use: Use) => (a: Assembler) =>
  a.vector(op, reg, second, rm, use);
const [x, y, z] = [{ bits: 128 }, { bits: 256 }, { bits: 512 }] as const;

const VECTORS: readonly Case[] = [
  ["vaddps xmm1, xmm2, xmm3", "c5e858cb", vector(v.add, 1, 2, 3, x)],
  ["vaddps ymm9, ymm2, [rax+0x20]", "c56c584820", vector(v.add, 9, 2, at(rax, 0x20), y)],
  ["vmulps zmm1, zmm2, [rdi+0x80]", "62f16c48594f02", vector(v.mul, 1, 2, at(rdi, 0x80), z)],
  [
    "vmulps zmm17, zmm30, [r9+0x44]",
    "62c10c4059894400" + "0000",
    vector(v.mul, 17, 30, at(9, 0x44), z),
  ],
  [
    "vsubps zmm3, zmm4, [rax+rcx*4+8]{1to16}",
    "62f15c585c5c8802",
    vector(v.sub, 3, 4, at(rax, 8, rcx, 4), { ...z, broadcast: true }),
  ],
  [
    "vdivps ymm3, ymm4, [rax+8]{1to8}",
    "62f15c385e5802",
    vector(v.div, 3, 4, at(rax, 8), { ...y, broadcast: true }),
  ],
  ["vmovups zmm31, [rsp+0xfc0]", "62617c48107c243f", vector(v.load, 31, 0, at(rsp, 0xfc0), z)],
  ["vmovups [rsi], ymm12", "c57c1126", vector(s.store, 12, 0, at(rsi, 0), y)],
  ["vmovss xmm4, [rbx+4]", "c5fa106304", vector(v.loadScalar, 4, 0, at(rbx, 4), x)],
  ["vmovss [r13+8], xmm20", "62c17e08116502", vector(s.storeScalar, 20, 0, at(13, 8), x)],
  ["vbroadcastss zmm5, [rdx+0xc]", "62f27d48186a03", vector(v.splat, 5, 0, at(rdx, 12), z)],
  ["vbroadcastss ymm5, xmm3", "c4e27d18eb", vector(v.splat, 5, 0, 3, y)],
  ["vfmadd231ps zmm0, zmm1, zmm18", "62b27548b8c2", vector(s.fma231, 0, 1, 18, z)],
  [
    "vfmadd231ps zmm0, zmm1, [r8+0x1fc]{1to16}",
    "62d27558b8407f",
    vector(s.fma231, 0, 1, at(8, 0x1fc), { ...z, broadcast: true }),
  ],
  ["vfmadd213ps ymm0, ymm1, ymm2", "c4e275a8c2", vector(s.fma213, 0, 1, 2, y)],
  ["vfmadd132ps xmm8, xmm1, [rax]", "c462719800", vector(s.fma132, 8, 1, at(rax, 0), x)],
  ["vxorps zmm6, zmm7, zmm8", "62d1444857f0", vector(v.xor, 6, 7, 8, z)],
  ["vandps xmm16, xmm7, xmm8", "62c1440854c0", vector(v.and, 16, 7, 8, x)],
  ["vrndscaleps zmm1, zmm2, 8", "62f37d4808ca08", vector(v.round, 1, 0, 2, { ...z, immediate: 8 })],
  ["vroundps ymm1, ymm2, 8", "c4e37d08ca08", vector(v.round, 1, 0, 2, { ...y, immediate: 8 })],
  [
    "vpslld ymm1, ymm2, 23",
    "c5f572f217",
    vector(s.shift, d.shiftLeft, 1, 2, { ...y, immediate: 23 }),
  ],
  [
    "vpsrad zmm1, zmm2, 23",
    "62f1754872e217",
    vector(s.shift, d.shiftRight, 1, 2, { ...z, immediate: 23 }),
  ],
  [
    "vpsrld zmm1, zmm2, 16",
    "62f1754872d210",
    vector(s.shift, d.shiftRightUnsigned, 1, 2, { ...z, immediate: 16 }),
  ],
  ["vcvtdq2ps zmm3, zmm9", "62d17c485bd9", vector(v.convert, 3, 0, 9, z)],
  ["vpaddd xmm1, xmm2, xmm3", "c5e9fecb", vector(v.addInteger, 1, 2, 3, x)],
  ["vpsubd zmm1, zmm2, zmm3", "62f16d48facb", vector(v.subInteger, 1, 2, 3, z)],
  ["vpandd zmm1, zmm2, zmm3", "62f16d48dbcb", vector(v.andInteger, 1, 2, 3, z)],
  ["vunpcklps zmm1, zmm2, zmm3", "62f16c4814cb", vector(v.unpackLow, 1, 2, 3, z)],
  [
    "vshufps ymm1, ymm2, ymm3, 0x88",
    "c5ecc6cb88",
    vector(v.shuffle, 1, 2, 3, { ...y, immediate: 0x88 }),
  ],
  [
    "vpermilps xmm1, xmm20, 0x4e",
    "62b37d0804cc4e",
    vector(v.permute, 1, 0, 20, { ...x, immediate: 0x4e }),
  ],
  [
    "vblendps ymm1, ymm2, ymm3, 0xaa",
    "c4e36d0ccbaa",
    vector(v.blend, 1, 2, 3, { ...y, immediate: 0xaa }),
  ],
  [
    "vextractf128 xmm3, ymm2, 1",
    "c4e37d19d301",
    vector(s.upper128, 2, 0, 3, { ...y, immediate: 1 }),
  ],
  [
    "vextractf64x4 ymm3, zmm2, 1",
    "62f3fd481bd301",
    vector(s.upper256, 2, 0, 3, { ...z, immediate: 1 }),
  ],
  ["vcmpps ymm1, ymm2, ymm3, 1", "c5ecc2cb01", vector(s.compare, 1, 2, 3, { ...y, immediate: 1 })],
  [
    "vcmpps k1, zmm2, zmm3, 1",
    "62f16c48c2cb01",
    vector(s.compare, 1, 2, 3, { ...z, immediate: 1 }),
  ],
  ["vpmovm2d zmm4, k1", "62f27e4838e1", vector(s.maskToLanes, 4, 0, 1, z)],
  ["vpmovd2m k1, zmm4", "62f27e4839cc", vector(s.lanesToMask, 1, 0, 4, z)],
  [
    "vblendmps zmm4{k1}, zmm5, zmm6",
    "62f2554965e6",
    vector(s.blendMask, 4, 5, 6, { ...z, mask: 1 }),
  ],
  [
    "vblendvps ymm4, ymm5, ymm6, ymm7",
    "c4e3554ae670",
    vector(s.blendLanes, 4, 5, 6, { ...y, immediate: 7 << 4 }),
  ],
  ["vpermi2ps zmm1, zmm2, zmm3", "62f26d4877cb", vector(s.permuteTables, 1, 2, 3, z)],
  [
    "vbroadcastf32x4 zmm3, [rdi+0x30]",
    "62f27d481a5f03",
    vector(v.loadQuad, 3, 0, at(rdi, 0x30), z),
  ],
  ["vbroadcastf128 ymm9, [r8+0x10]", "c4427d1a4810", vector(v.loadQuad, 9, 0, at(8, 16), y)],
  [
    "vgf2p8affineqb zmm2, zmm17, zmm4, 0",
    "62f3f540ced400",
    vector(v.mixBits, 2, 17, 4, {
      ...z,
      immediate: 0,
    }),
  ],
  ["vpdpbusd zmm2, zmm17, zmm4", "62f2754050d4", vector(s.dotBytes, 2, 17, 4, z)],
  ["{evex} vpdpbusd xmm2, xmm3, xmm4", "62f2650850d4", vector(s.dotBytes, 2, 3, 4, x)],
  ["vpmaddubsw ymm1, ymm2, ymm3", "c4e26d04cb", vector(v.multiplyBytes, 1, 2, 3, y)],
  ["vpmaddubsw zmm1, zmm2, zmm20", "62b26d4804cc", vector(v.multiplyBytes, 1, 2, 20, z)],
  ["vpmaddwd zmm1, zmm2, zmm3", "62f16d48f5cb", vector(v.multiplyWords, 1, 2, 3, z)],
  ["vpackssdw ymm4, ymm5, ymm5", "c5d56be5", vector(v.packWords, 4, 5, 5, y)],
  ["vpacksswb xmm4, xmm5, xmm5", "c5d163e5", vector(v.packBytes, 4, 5, 5, x)],
  ["vcvtps2dq zmm7, zmm8", "62d17d485bf8", vector(v.convertToWhole, 7, 0, 8, z)],
  ["vpmovdb [rsi+0x20], zmm9", "62727e48314e02", vector(s.storeBytes, 9, 0, at(rsi, 0x20), z)],
  ["vpmovdb [rsi+0x24], xmm9", "62727e08314e09", vector(s.storeBytes, 9, 0, at(rsi, 0x24), x)],
  ["vucomiss xmm1, xmm12", "c4c1782ecc", vector(s.compareScalar, 1, 0, 12, x)],
  ["vcvtsi2ss xmm1, xmm1, r9", "c4c1f22ac9", vector(s.fromInteger, 1, 1, 9, x)],
  ["vcvttss2si rax, xmm3", "c4e1fa2cc3", vector(s.toInteger, rax, 0, 3, x)],
  ["vpbroadcastw xmm3, [rax+6]", "c4e279795806", vector(v.splatHalf, 3, 0, at(rax, 6), x)],
  ["vpbroadcastw xmm19, [rax+6]", "62e27d08795803", vector(v.splatHalf, 19, 0, at(rax, 6), x)],
  ["vpmovzxwd ymm2, [rdi+0x20]", "c4e27d335720", vector(v.widenHalves, 2, 0, at(rdi, 32), y)],
  ["vpmovzxwd zmm2, [rdi+0x20]", "62f27d48335701", vector(v.widenHalves, 2, 0, at(rdi, 32), z)],
  [
    "vpmovzxwd zmm18, [rdi+rcx*2+0x40]",
    "62e27d4833544f02",
    vector(v.widenHalves, 18, 0, at(rdi, 0x40, rcx, 2), z),
  ],
  ["vcvtph2ps xmm4, xmm3", "c4e27913e3", vector(v.convertHalves, 4, 0, 3, x)],
  ["vcvtph2ps xmm4, [r8+8]", "c4c279136008", vector(v.convertHalves, 4, 0, at(8, 8), x)],
  ["vcvtph2ps zmm4, [r8+0x20]", "62d27d48136001", vector(v.convertHalves, 4, 0, at(8, 32), z)],
  ["vpmovzxbd xmm1, [rsi+4]", "c4e279314e04", vector(v.widenBytes, 1, 0, at(rsi, 4), x)],
  ["vpmovzxbd ymm9, [rsi+8]", "c4627d314e08", vector(v.widenBytes, 9, 0, at(rsi, 8), y)],
  ["vpmovzxbd zmm1, [rsi+0x10]", "62f27d48314e01", vector(v.widenBytes, 1, 0, at(rsi, 16), z)],
  ["vpmovsxbd xmm1, [rsi+4]", "c4e279214e04", vector(v.widenSignedBytes, 1, 0, at(rsi, 4), x)],
  [
    "vpmovsxbd zmm17, [rsi+0x30]",
    "62e27d48214e03",
    vector(v.widenSignedBytes, 17, 0, at(rsi, 48), z),
  ],
  [
    "vpermps zmm5, zmm20, [rdi+0x40]",
    "62f25d40166f01",
    vector(v.permuteLanes, 5, 20, at(rdi, 64), z),
  ],
  ["vorps zmm1, zmm2, zmm3", "62f16c4856cb", vector(v.or, 1, 2, 3, z)],
  [
    "vinsertf32x4 zmm1, zmm2, [rdi+0x30], 3",
    "62f36d48184f0303",
    vector(v.insertQuad, 1, 2, at(rdi, 0x30), { ...z, immediate: 3 }),
  ],
  [
    "vinsertf32x4 zmm17, zmm2, xmm20, 1",
    "62a36d4818cc01",
    vector(v.insertQuad, 17, 2, 20, { ...z, immediate: 1 }),
  ],
  ["vzeroupper", "c5f877", (a) => a.zeroUpper()],
];

const TILES: readonly Case[] = [
  ["ldtilecfg [rsp+0x40]", "c4e27849442440", vector(t.configure, 0, 0, at(rsp, 0x40), x)],
  ["tilerelease", "c4e27849c0", vector(t.release, 0, 0, 0, x)],
  ["tilezero tmm3", "c4e27b49d8", vector(t.zero, 3, 0, 0, x)],
  [
    "tileloadd tmm4, [rax+r13+0x800]",
    "c4a27b4ba42800080000",
    vector(t.load, 4, 0, at(rax, 0x800, 13), x),
  ],
  ["tileloadd tmm7, [r9+rcx]", "c4c27b4b3c09", vector(t.load, 7, 0, at(9, 0, rcx), x)],
  [
    "tilestored [rbx+rdx+0x40], tmm2",
    "c4e27a4b541340",
    vector(t.store, 2, 0, at(rbx, 0x40, rdx), x),
  ],
  ["tdpbf16ps tmm1, tmm4, tmm7", "c4e2425ccc", vector(t.product, 1, 7, 4, x)],
];

const hex = (bytes: Iterable<number>) =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

for (
  const [name, cases] of [
    ["integer", INTEGERS],
    ["vector", VECTORS],
    ["tile", TILES],
  ] as const
) {
  Deno.test(`x64: ${name} instructions have the bytes that GNU as gives them`, () => {
    const found = cases.map(([text, , encode]) => {
      const assembler = new Assembler();
      encode(assembler);
      return `${text}: ${hex(assembler.bytes)}`;
    });
    assertEquals(found, cases.map(([text, bytes]) => `${text}: ${bytes}`));
  });
}

Deno.test("x64: jumps reach labels before and after, constants lie behind the code", () => {
  const a = new Assembler();
  a.label(0);
  a.jumpIf("lt", 1);
  a.jump(0);
  a.label(1);
  a.vector(v.add, 1, 2, { constant: 4 }, { bits: 128 });
  const code = a.finish(new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]));
  // jl +5; jmp −11; vaddps xmm1, xmm2, [rip+68−19]
  assertEquals(hex(code.subarray(0, 19)), "0f8c05000000" + "e9f5ffffff" + "c5e8580d" + "31000000");
  assertEquals([...code.subarray(64)], [1, 2, 3, 4, 5, 6, 7, 8]);
});

Deno.test("x64: what an instruction cannot hold is an error", () => {
  assertThrows(
    () => new Assembler().move(rax, at(rbx, 2 ** 31)),
    Error,
    "does not fit into 32 bits",
  );
  assertThrows(() => new Assembler().set(rax, 2 ** 32), Error, "no constant of 32 bits");
  assertThrows(() => new Assembler().vector(v.blend, 16, 0, 0, { bits: 256 }), Error, "EVEX");
  const jump = new Assembler();
  jump.jump(3);
  assertThrows(() => jump.finish(new Uint8Array()), Error, "no label 3");
});
