/** GPU kernels as WGSL (www.w3.org/TR/WGSL). */

import type { GpuCode, GpuStatement, Place, Scalar } from "../gpu/language.ts";
import { bodyLines, type Dialect, localName, type ScalarOp } from "./gpu_text.ts";

/** How operands are bound: a buffer that holds several of them is bound once. */
export interface WgslLayout {
  /** The number of every operand's array, from 0; operands of one array share a buffer. */
  readonly arrays: readonly number[];
  /** How many bindings make up each array, where some have several. */
  readonly parts?: readonly number[];
  /** Words of a part of an array with several, but for its last. */
  readonly partWords?: number;
  /** Bindings that are written, which all that share a buffer are if one operand is. */
  readonly written: readonly boolean[];
  /** Groups along x and y; the last row may have more than the kernel's. */
  readonly grid: readonly [number, number];
  /** Groups that work. */
  readonly groups: number;
  /** How to ask for subgroups, where there are any. */
  readonly subgroups?: WgslSubgroups;
}

/** How a module is given subgroups: by WGSL's directive, or without one, as naga has it. */
export type WgslSubgroups = "enabled" | "undeclared";

// Constants of WGSL may be neither infinite nor NaN, and literals are constants. The smallest f16 are
// made of whole numbers, as a GPU may take the smallest f32 for zeros.
const PRELUDE = `var<private> infinity_bits: u32 = 0x7f800000u;
var<private> nan_bits: u32 = 0x7fc00000u;
fn mantissa_exponent(a: f32) -> i32 { return (bitcast<i32>(a) - 0x3f3504f3i) >> 23u; }
fn f16_size(m: i32) -> f32 { return select(bitcast<f32>((m << 13u) + (112i << 23u)), f32(m) * 0x1p-24f, m < 0x400i); }
fn from_f16(a: i32) -> f32 { return select(1f, -1f, (a & 0x8000i) != 0i) * f16_size(a & 0x7fffi); }
fn mantissa(a: f32) -> f32 { return bitcast<f32>(bitcast<i32>(a) - (mantissa_exponent(a) << 23u)); }
`;

function real(value: number): string {
  if (Number.isNaN(value)) return "bitcast<f32>(nan_bits)";
  const single = Math.fround(value);
  if (!Number.isFinite(single)) return `(${single < 0 ? "-" : ""}bitcast<f32>(infinity_bits))`;
  return single < 0 || Object.is(single, -0) ? `(-${-single}f)` : `${single}f`;
}

/** Rounds of a loop from which on their number is hidden from drivers, by adding a 0. */
const HIDDEN_ROUNDS = 8;
const HIDDEN = " + hidden";
const HIDDEN_ZERO = "  let hidden = i32(group_id.x >> 31u);";

/** What the names of all that is of subgroups begin with. */
const SUBGROUP = "subgroup";

function unary(op: ScalarOp, a: string): string {
  switch (op) {
    case "neg":
      return `(-${a})`;
    case "abs":
    case "sqrt":
      return `${op}(${a})`;
    case "nearest":
      return `round(${a})`;
    case "to_f32":
      return `f32(${a})`;
    case "to_i32":
      return `i32(${a})`;
    case "f16_to_f32":
      return `from_f16(${a})`;
    case "as_f32":
      return `bitcast<f32>(${a})`;
    case "bits_to_f32":
      return `bitcast<f32>((i32(${a}) + 127i) << 23u)`;
    case "exponent":
      return `f32(mantissa_exponent(${a}))`;
    case "mantissa":
      return `mantissa(${a})`;
    default:
      return op satisfies never;
  }
}

/** How a place is read or written: by single elements or by four. */
interface Access {
  readonly place: Place;
  readonly wide: boolean;
  readonly writes: boolean;
}

function accesses(body: readonly GpuStatement[], bySubgroups: boolean): Access[] {
  return body.flatMap((s): Access[] => {
    switch (s.kind) {
      case "read":
      case "read4":
        return [{ place: s.from, wide: s.kind === "read4", writes: false }];
      case "write":
      case "write4":
        return [{ place: s.to, wide: s.kind === "write4", writes: true }];
      case "for":
        return accesses(s.body, bySubgroups);
      case "if":
        return [s.then, s.otherwise].flatMap((body) => accesses(body, bySubgroups));
      case "bySubgroups":
        return accesses(bySubgroups ? s.then : s.otherwise, bySubgroups);
      default:
        return [];
    }
  });
}

/** How many bindings each array has. */
const partsOf = ({ parts, written }: WgslLayout): readonly number[] =>
  parts ?? written.map(() => 1);

/** How an array is declared. */
interface Memory {
  /** Words, where operands of several types share a binding. */
  readonly type: Scalar | "u32";
  /** Whether it is of vectors of four. */
  readonly quads: boolean;
}

interface Memories {
  readonly arrays: readonly Memory[];
  /** Arrays of the group; undefined for those that are not touched. */
  readonly shared: readonly (Memory | undefined)[];
}

/**
 * Arrays are of vectors where they are read or written by four. Those of which single elements are
 * written are not: a component that is written may write its neighbours.
 */
function memoriesOf({ operands, shared, body }: GpuCode, layout: WgslLayout): Memories {
  const all = accesses(body, layout.subgroups !== undefined);
  const ofPlace = (kind: Place["kind"], index: number) =>
    all.filter(({ place }) => place.kind === kind && place.index === index);
  const inQuads = (own: readonly Access[]) =>
    own.some(({ wide }) => wide) && own.every(({ wide, writes }) => wide || !writes);
  const arrays = partsOf(layout).map((_, array): Memory => {
    const own = operands.flatMap((_, i) => layout.arrays[i] === array ? [i] : []);
    const types = new Set(own.map((i) => operands[i].type));
    return {
      type: types.size > 1 ? "u32" : operands[own[0]].type,
      quads: inQuads(own.flatMap((i) => ofPlace("operand", i))),
    };
  });
  return {
    arrays,
    shared: shared.map(({ type }, i) => {
      const own = ofPlace("shared", i);
      return own.length === 0 ? undefined : { type, quads: inQuads(own) };
    }),
  };
}

/** The type of an array's elements. */
const elementType = ({ type, quads }: Memory) => quads ? `vec4<${type}>` : type;

/**
 * An array of several bindings: functions that read and write an element wherever it lies, and look
 * for its part in the order of the parts.
 */
function partedArray(
  array: number,
  parts: number,
  own: Memory,
  partWords: number,
  writes: boolean,
) {
  const type = elementType(own);
  const elements = partWords / (own.quads ? 4 : 1);
  const cases = (then: (name: string, at: string) => string) =>
    Array.from({ length: parts }, (_, part) => {
      const found = then(`memory${array}_${part}`, `i - ${part * elements}i`);
      return part + 1 === parts
        ? `  ${found}`
        : `  if (i < ${(part + 1) * elements}i) { ${found} }`;
    });
  return [
    `fn memory${array}_at(i: i32) -> ${type} {`,
    ...cases((name, at) => `return ${name}[${at}];`),
    "}",
    ...(writes
      ? [
        `fn memory${array}_put(i: i32, value: ${type}) {`,
        ...cases((name, at) => `${name}[${at}] = value; return;`),
        "}",
      ]
      : []),
  ];
}

function dialectOf(layout: WgslLayout, memories: Memories): Dialect {
  const { arrays, subgroups } = layout;
  const parts = partsOf(layout);
  const memoryOf = ({ kind, index }: Place): Memory =>
    kind === "operand" ? memories.arrays[arrays[index]] : memories.shared[index]!;
  const name = ({ kind, index }: Place) =>
    kind === "shared" ? `shared${index}` : `memory${arrays[index]}`;
  const isParted = ({ kind, index }: Place) => kind === "operand" && parts[arrays[index]] > 1;
  const indexOf = ({ kind, index }: Place, at: string) =>
    kind === "shared" ? at : `first${index} + ${at}`;
  const quadIndex = (place: Place, at: string) => `(${indexOf(place, at)}) >> 2u`;
  const element = (place: Place, index: string) =>
    isParted(place) ? `${name(place)}_at(${index})` : `${name(place)}[${index}]`;
  const put = (place: Place, index: string, value: string) =>
    isParted(place)
      ? `${name(place)}_put(${index}, ${value});`
      : `${name(place)}[${index}] = ${value};`;
  const read = (from: Place, at: string) => {
    const { type, quads } = memoryOf(from);
    const found = quads
      ? `${element(from, quadIndex(from, at))}[(${indexOf(from, at)}) & 3i]`
      : element(from, indexOf(from, at));
    return type === "u32" ? `bitcast<${from.type}>(${found})` : found;
  };
  const write = (to: Place, at: string, value: string) => {
    const own = memoryOf(to).type === "u32" ? `bitcast<u32>(${value})` : value;
    return put(to, indexOf(to, at), own);
  };
  return {
    constant: (type, value) =>
      type === "f32" ? real(value) : value < 0 ? `(${value}i)` : `${value}i`,
    declare: (type, name, value, assigned) =>
      `${assigned ? "var" : "let"} ${name}: ${type} = ${value};`,
    unary,
    extreme: (op, _, a, b) => `${op}(${a}, ${b})`,
    shift: (op, a, b) => `(${a} ${op === "shl" ? "<<" : ">>"} u32(${b}))`,
    fma: (a, b, c) => `fma(${a}, ${b}, ${c})`,
    select: (condition, a, b) => `select(${b}, ${a}, ${condition})`,
    whole: (condition) => `i32(${condition})`,
    ...{ read, write },
    read4: (names, from, at) => {
      const four = `${names[0]}_4`;
      const each = (value: (i: number) => string) =>
        names.map((name, i) => `let ${name} = ${value(i)};`).join(" ");
      const { type, quads } = memoryOf(from);
      if (!quads) return `let ${four} = ${at}; ${each((i) => read(from, `${four} + ${i}i`))}`;
      const found = element(from, quadIndex(from, at));
      const own = type === "u32" ? `bitcast<vec4<${from.type}>>(${found})` : found;
      return `let ${four} = ${own}; ${each((i) => `${four}.${"xyzw"[i]}`)}`;
    },
    write4: (to, at, values) => {
      const { type, quads } = memoryOf(to);
      if (!quads) return values.map((value, i) => write(to, `${at} + ${i}i`, value)).join(" ");
      const four = `vec4<${to.type}>(${values.join(", ")})`;
      return put(to, quadIndex(to, at), type === "u32" ? `bitcast<vec4<u32>>(${four})` : four);
    },
    unroll: () => [],
    // Drivers that know that there are few rounds write them out; compiling then takes those in
    // software several times as long.
    loopEnd: (end, rounds) =>
      rounds >= HIDDEN_ROUNDS && /^\d+i$/.test(end) ? `${end}${HIDDEN}` : end,
    barrier: (of) =>
      of === "shared" ? "workgroupBarrier();" : "storageBarrier(); workgroupBarrier();",
    uniform: (name, value) =>
      `if (${localName(1)} == 0i) { agreed = ${value}; } ` +
      `let ${name}: i32 = workgroupUniformLoad(&agreed);`,
    ...(subgroups !== undefined && {
      subgroups: {
        size: `i32(${SUBGROUP}_threads)`,
        shuffle: (value, mask) => `${SUBGROUP}ShuffleXor(${value}, ${mask}u)`,
      },
    }),
  };
}

/**
 * A shader module with the entry point `main`. Group 0 has at binding 0 a uniform buffer with the
 * first element of every operand in its binding's buffer, padded to 4, and the bindings from 1 on.
 */
export function renderWgsl(code: GpuCode, layout: WgslLayout): string {
  const { written, grid, groups } = layout;
  const memories = memoriesOf(code, layout);
  const parts = partsOf(layout);
  let bound = 0;
  const memory = memories.arrays.flatMap((own, array) => {
    const names = Array.from(
      { length: parts[array] },
      (_, part) => parts[array] === 1 ? `memory${array}` : `memory${array}_${part}`,
    );
    const writes = written[bound];
    const declared = names.map((name) =>
      `@group(0) @binding(${++bound}) var<storage, ${writes ? "read_write" : "read"}> ${name}: ` +
      `array<${elementType(own)}>;`
    );
    return parts[array] === 1 ? declared : [
      ...declared,
      ...partedArray(array, parts[array], own, layout.partWords!, writes),
    ];
  });
  const shared = code.shared.flatMap(({ size }, i) => {
    const own = memories.shared[i];
    if (own === undefined) return [];
    const elements = own.quads ? size / 4 : size;
    return [`var<workgroup> shared${i}: array<${elementType(own)}, ${elements}>;`];
  });
  const firsts = code.operands.map((_, i) =>
    `  let first${i} = i32(firsts[${Math.floor(i / 4)}][${i % 4}]);`
  );
  const body = bodyLines(code.body, dialectOf(layout, memories));
  const shuffles = body.some((line) => line.includes(SUBGROUP));
  const whole = grid[0] * grid[1] === groups;
  const group = grid[1] === 1 ? "group_id.x" : `group_id.x + group_id.y * ${grid[0]}u`;
  return [
    `// ${code.name}`,
    ...(layout.subgroups === "enabled" && shuffles ? ["enable subgroups;"] : []),
    PRELUDE,
    `@group(0) @binding(0) var<uniform> firsts: array<vec4<u32>, ${
      Math.ceil(code.operands.length / 4)
    }>;`,
    ...memory,
    ...shared,
    "var<workgroup> agreed: i32;",
    `@compute @workgroup_size(${code.threads})`,
    "fn main(",
    "  @builtin(workgroup_id) group_id: vec3<u32>,",
    "  @builtin(local_invocation_index) thread_id: u32,",
    ...(shuffles ? [`  @builtin(subgroup_size) ${SUBGROUP}_threads: u32,`] : []),
    ") {",
    `  let ${localName(0)} = i32(${group});`,
    `  let ${localName(1)} = i32(thread_id);`,
    ...(whole ? [] : [`  if (${localName(0)} >= ${groups}i) { return; }`]),
    ...firsts,
    ...(body.some((line) => line.includes(HIDDEN)) ? [HIDDEN_ZERO] : []),
    ...body,
    "}",
    "",
  ].join("\n");
}
