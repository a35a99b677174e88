import { assert, assertEquals, assertThrows } from "@std/assert";
import { gpuKernel } from "../../../kernels/gpu/block.ts";
import { f32, type GpuCode } from "../../../kernels/gpu/language.ts";
import { add, i32, lessThan, mul, splat, toF32 } from "../../../kernels/language/language.ts";
import { renderWgsl } from "../../../kernels/render/wgsl.ts";

/** Sums pairs of threads, for a text that is short. */
const pairs = () =>
  gpuKernel("pairs", 64, { x: "f32", ids: "i32", y: "+f32" }, (k, { x, ids, y }) => {
    const shared = k.shared("f32", 64);
    const element = k.let(add(mul(k.group, i32(64)), k.thread));
    k.write(shared, k.thread, add(k.read(x, element), toF32(k.read(ids, element))));
    k.barrier();
    k.if(lessThan(k.thread, i32(32)), () => {
      const sum = k.variable(f32(-Infinity));
      k.for(0, k.uniform(k.read(ids, i32(0))), 2, (i) => {
        k.set(sum, add(sum, k.read(shared, i)));
      });
      k.write(y, element, sum);
    });
  });

const lines = (code: GpuCode, layout: Parameters<typeof renderWgsl>[1]) =>
  renderWgsl(code, layout).split("\n").map((line) => line.trim());

Deno.test("wgsl: operands of one buffer share a binding of words; groups beyond the last stop", () => {
  const text = lines(pairs(), {
    arrays: [0, 0, 1],
    written: [false, true],
    grid: [3, 2],
    groups: 5,
  });
  const from = text.indexOf("// pairs");
  const body = text.slice(from).filter((line) =>
    !/^(fn (mantissa|f16_size|from_f16)|var<private>|$)/.test(line)
  );
  assertEquals(
    body,
    [
      "// pairs",
      "@group(0) @binding(0) var<uniform> firsts: array<vec4<u32>, 1>;",
      "@group(0) @binding(1) var<storage, read> memory0: array<u32>;",
      "@group(0) @binding(2) var<storage, read_write> memory1: array<f32>;",
      "var<workgroup> shared0: array<f32, 64>;",
      "var<workgroup> agreed: i32;",
      "@compute @workgroup_size(64)",
      "fn main(",
      "@builtin(workgroup_id) group_id: vec3<u32>,",
      "@builtin(local_invocation_index) thread_id: u32,",
      ") {",
      "let l0 = i32(group_id.x + group_id.y * 3u);",
      "let l1 = i32(thread_id);",
      "if (l0 >= 5i) { return; }",
      "let first0 = i32(firsts[0][0]);",
      "let first1 = i32(firsts[0][1]);",
      "let first2 = i32(firsts[0][2]);",
      "let l2: i32 = ((l0 * 64i) + l1);",
      "let l3: f32 = bitcast<f32>(memory0[first0 + l2]);",
      "let l4: i32 = bitcast<i32>(memory0[first1 + l2]);",
      "shared0[l1] = (l3 + f32(l4));",
      "workgroupBarrier();",
      "if (l1 < 32i) {",
      "var l5: f32 = (-bitcast<f32>(infinity_bits));",
      "let l6: i32 = bitcast<i32>(memory0[first1 + 0i]);",
      "if (l1 == 0i) { agreed = l6; } let l7: i32 = workgroupUniformLoad(&agreed);",
      "for (var l8: i32 = 0i; l8 < l7; l8 += 2i) {",
      "let l9: f32 = shared0[l8];",
      "l5 = (l5 + l9);",
      "}",
      "memory1[first2 + l2] = l5;",
      "}",
      "}",
      "",
    ].filter((line) => line !== ""),
  );
});

Deno.test("wgsl: memory that is taken by four is of vectors, unless single elements are written", () => {
  const operands = { x: "f32", y: "i32", z: "+f32" } as const;
  const code = gpuKernel("fours", 4, operands, (k, { x, y, z }) => {
    const shared = k.shared("f32", 16);
    k.shared("f32", 99);
    const at = k.let(mul(k.thread, i32(4)));
    k.write4(shared, at, k.read4(x, at));
    k.write(z, at, k.read4(shared, at)[0]);
    k.write(z, at, toF32(k.read4(y, at)[3]));
    k.write(z, at, toF32(k.read(y, at)));
    k.read4(z, at);
  });
  const all = { written: [false, false, true], grid: [1, 1], groups: 1 } as const;
  const text = lines(code, { ...all, arrays: [0, 1, 2] });
  const has = (line: string) => assert(text.includes(line), line);
  has("@group(0) @binding(1) var<storage, read> memory0: array<vec4<f32>>;");
  has("@group(0) @binding(2) var<storage, read> memory1: array<vec4<i32>>;");
  has("@group(0) @binding(3) var<storage, read_write> memory2: array<f32>;");
  has("var<workgroup> shared0: array<vec4<f32>, 4>;");
  assertEquals(text.filter((line) => line.startsWith("var<workgroup> shared1")), []);
  has(
    "let l3_4 = memory0[(first0 + l2) >> 2u]; let l3 = l3_4.x; let l4 = l3_4.y; " +
      "let l5 = l3_4.z; let l6 = l3_4.w;",
  );
  has("shared0[(l2) >> 2u] = vec4<f32>(l3, l4, l5, l6);");
  has("let l15: i32 = memory1[(first1 + l2) >> 2u][(first1 + l2) & 3i];");
  has(
    "let l16_4 = l2; let l16 = memory2[first2 + l16_4 + 0i]; " +
      "let l17 = memory2[first2 + l16_4 + 1i]; let l18 = memory2[first2 + l16_4 + 2i]; " +
      "let l19 = memory2[first2 + l16_4 + 3i];",
  );
  // Numbers of both types in one buffer are vectors of words.
  const shared = lines(code, { ...all, arrays: [0, 0, 1], written: [false, true] });
  const hasWords = (line: string) => assert(shared.includes(line), line);
  hasWords("@group(0) @binding(1) var<storage, read> memory0: array<vec4<u32>>;");
  hasWords(
    "let l3_4 = bitcast<vec4<f32>>(memory0[(first0 + l2) >> 2u]); let l3 = l3_4.x; " +
      "let l4 = l3_4.y; let l5 = l3_4.z; let l6 = l3_4.w;",
  );
  hasWords("let l15: i32 = bitcast<i32>(memory0[(first1 + l2) >> 2u][(first1 + l2) & 3i]);");
});

Deno.test("wgsl: numbers are written to the last bit", () => {
  const numbers = [0.1, -0, 1e-40, 16777216, -2.5e30, Infinity, NaN];
  const code = gpuKernel("numbers", 1, { y: "+f32" }, (k, { y }) => {
    numbers.forEach((value, i) => k.write(y, i32(i), f32(value)));
  });
  const text = renderWgsl(code, { arrays: [0], written: [true], grid: [1, 1], groups: 1 });
  const found = [...text.matchAll(/\] = (.*);/g)].map(([, value]) => value);
  assertEquals(found, [
    "0.10000000149011612f",
    "(-0f)",
    `${Math.fround(1e-40)}f`,
    "16777216f",
    `(-${Math.fround(2.5e30)}f)`,
    "(bitcast<f32>(infinity_bits))",
    "bitcast<f32>(nan_bits)",
  ]);
});

Deno.test("wgsl: vectors of the CPU's kernels are refused", () => {
  const code = gpuKernel("vectors", 1, { y: "+f32" }, (k, { y }) => {
    k.write(y, i32(0), splat(k.read(y, i32(0))) as never);
  });
  const layout = { arrays: [0], written: [true], grid: [1, 1], groups: 1 } as const;
  const { message } = assertThrows(() => renderWgsl(code, layout), Error);
  assert(message.startsWith("gpu kernel: splat"), message);
});
