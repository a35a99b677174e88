/** GPU kernels as CUDA C++, which NVRTC compiles without any header. */

import type { GpuCode, GpuStatement, Place } from "../gpu/language.ts";
import { bodyLines, type Dialect, localName, type ScalarOp } from "./gpu_text.ts";

/** A kernel of a module. */
export interface CudaKernel {
  /** Its name in the module. */
  readonly name: string;
  readonly code: GpuCode;
  /** Elements of every operand, from the one that the kernel counts from. */
  readonly elements: readonly number[];
  /** What it computes, for people. */
  readonly label: string;
}

// The emulated driver of the tests (tests/cuda/emulator) defines these otherwise: there every access
// is checked against the declared elements, and for races.
const PRELUDE = `#ifndef SUTURE_EMULATED
#define SUTURE_GLOBAL(T, name) T* name
#define SUTURE_SHARED(T, name, elements) __shared__ __align__(16) T name[elements]
#define SUTURE_ARRAYS(...)
static __device__ __forceinline__ float4 read4(const float* from, int at) {
  return *reinterpret_cast<const float4*>(from + at);
}
static __device__ __forceinline__ int4 read4(const int* from, int at) {
  return *reinterpret_cast<const int4*>(from + at);
}
static __device__ __forceinline__ void write4(float* to, int at, float4 values) {
  *reinterpret_cast<float4*>(to + at) = values;
}
static __device__ __forceinline__ float from_f16(int bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((unsigned short)bits));
  return value;
}
static __device__ __forceinline__ float to_tf32(float a) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(a));
  return __uint_as_float(bits);
}
static __device__ __forceinline__ void mma(float& s0, float& s1, float& s2, float& s3, float a0,
                                           float a1, float a2, float a3, float b0, float b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(s0), "+f"(s1), "+f"(s2), "+f"(s3)
      : "r"(__float_as_uint(a0)), "r"(__float_as_uint(a1)), "r"(__float_as_uint(a2)),
        "r"(__float_as_uint(a3)), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}
#endif
static __device__ __forceinline__ unsigned from_root(float a) {
  return (unsigned)__float_as_int(a) - 0x3f3504f3u;
}
static __device__ __forceinline__ float exponent(float a) {
  return (float)((int)from_root(a) >> 23);
}
static __device__ __forceinline__ float mantissa(float a) {
  return __int_as_float((int)((from_root(a) & 0x7fffffu) + 0x3f3504f3u));
}
static __device__ __forceinline__ float power_of_2(float n) {
  return __int_as_float((int)((unsigned)(__float2int_rn(n) + 127) << 23));
}
template <class T> static __device__ __forceinline__ T smaller(T a, T b) { return b < a ? b : a; }
template <class T> static __device__ __forceinline__ T larger(T a, T b) { return a < b ? b : a; }
`;

/**
 * Threads that a multiprocessor is to hold at least: of its 65536 registers each then has up to 128,
 * or 255 where it keeps many numbers. Left alone, ptxas aims for more threads at the price of spills.
 */
const RESIDENT_THREADS = { few: 256, many: 512 } as const;
/** Variables of a thread beyond which 128 registers are too few. */
const MANY_VARIABLES = 32;

/** Variables that a kernel's thread has at once. */
function variables(body: readonly GpuStatement[]): number {
  return body.reduce((sum, s) => {
    if (s.kind === "variable") return sum + 1;
    if (s.kind === "for") return sum + variables(s.body);
    if (s.kind === "bySubgroups") return sum + variables(s.then);
    return s.kind === "if" ? sum + Math.max(variables(s.then), variables(s.otherwise)) : sum;
  }, 0);
}

const TYPES = { f32: "float", i32: "int" } as const;

function real(value: number): string {
  const single = Math.fround(value);
  if (Number.isFinite(single)) {
    const text = String(Math.abs(single));
    const whole = /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
    return single < 0 || Object.is(single, -0) ? `(-${whole})` : whole;
  }
  const bits = Number.isNaN(single) ? "0x7fc00000" : single > 0 ? "0x7f800000" : "0xff800000";
  return `__int_as_float(${bits})`;
}

function unary(op: ScalarOp, a: string): string {
  switch (op) {
    case "neg":
      return `(-${a})`;
    case "abs":
      return `fabsf(${a})`;
    case "sqrt":
      return `sqrtf(${a})`;
    case "nearest":
      return `rintf(${a})`;
    case "to_f32":
      return `((float)${a})`;
    case "to_i32":
      return `__float2int_rz(${a})`;
    case "f16_to_f32":
      return `from_f16(${a})`;
    case "as_f32":
      return `__int_as_float(${a})`;
    case "bits_to_f32":
      return `power_of_2(${a})`;
    case "exponent":
    case "mantissa":
      return `${op}(${a})`;
    default:
      return op satisfies never;
  }
}

function dialectOf({ operands }: GpuCode): Dialect {
  const array = ({ kind, index }: Place): string =>
    kind === "shared" ? `shared${index}` : operands[index].name;
  const element = (place: Place, at: string): string => `${array(place)}[${at}]`;
  return {
    constant: (type, value) =>
      type === "f32" ? real(value) : value < 0 ? `(${value})` : String(value),
    declare: (type, name, value, assigned) =>
      `${assigned ? "" : "const "}${TYPES[type]} ${name} = ${value};`,
    unary,
    extreme: (op, _, a, b) => `${op === "min" ? "smaller" : "larger"}(${a}, ${b})`,
    shift: (op, a, b) => op === "shl" ? `((int)((unsigned)${a} << ${b}))` : `(${a} >> ${b})`,
    fma: (a, b, c) => `fmaf(${a}, ${b}, ${c})`,
    select: (condition, a, b) => `(${condition} ? ${a} : ${b})`,
    whole: (condition) => `((int)${condition})`,
    read: element,
    write: (to, at, value) => `${element(to, at)} = ${value};`,
    read4: (names, from, at) => {
      const four = `${names[0]}_4`;
      const each = names.map((name, i) => `${name} = ${four}.${"xyzw"[i]}`);
      const type = TYPES[from.type];
      return `const ${type}4 ${four} = read4(${array(from)}, ${at}); const ${type} ${
        each.join(", ")
      };`;
    },
    write4: (to, at, values) => `write4(${array(to)}, ${at}, float4{${values.join(", ")}});`,
    tf32: (name, value) => `const float ${name} = to_tf32(${value});`,
    mma: (sums, a, b) => `mma(${[...sums, ...a, ...b].join(", ")});`,
    // Loops are written out where that helps: where NVRTC does so as well, it runs out of registers.
    unroll: (rounds) => [`#pragma unroll ${rounds}`],
    loopEnd: (end) => end,
    // For all memory that threads of a block share.
    barrier: () => "__syncthreads();",
    uniform: (name, value) => `const int ${name} = ${value};`,
    subgroups: {
      size: "32",
      shuffle: (value, mask) => `__shfl_xor_sync(0xffffffffu, ${value}, ${mask})`,
    },
  };
}

function kernelText({ name, code, elements, label }: CudaKernel): string {
  const { operands, shared, threads, body } = code;
  const parameters = operands.map(({ name, type, written }) =>
    `SUTURE_GLOBAL(${written ? "" : "const "}${TYPES[type]}, ${name})`
  );
  const resident = RESIDENT_THREADS[variables(body) > MANY_VARIABLES ? "few" : "many"];
  const blocks = Math.max(1, Math.floor(resident / threads));
  const arrays = operands.map(({ name }, i) => `{"${name}", ${elements[i]}}`);
  return [
    `// ${label}`,
    `extern "C" __global__ void __launch_bounds__(${threads}, ${blocks}) ${name}(`,
    `    ${parameters.join(", ")}) {`,
    ...shared.map(({ type, size }, i) => `  SUTURE_SHARED(${TYPES[type]}, shared${i}, ${size});`),
    `  const int ${localName(0)} = blockIdx.x;`,
    `  const int ${localName(1)} = threadIdx.x;`,
    ...bodyLines(body, dialectOf(code)),
    "}",
    `SUTURE_ARRAYS(${name}, ${arrays.join(", ")})`,
    "",
  ].join("\n");
}

/** A module of kernels. Arithmetic is precise: no fast-math, denormals as they are. */
export function renderCuda(kernels: readonly CudaKernel[]): string {
  return [PRELUDE, ...kernels.map(kernelText)].join("\n");
}
