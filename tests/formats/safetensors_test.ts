import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FormatError } from "../../formats/error.ts";
import { expectTensors } from "../../formats/safetensors/expect.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { sharedPath } from "../support/shared.ts";
import { file, fixturePath, messageOf, withFolder } from "./support.ts";

const ALL_DTYPES = fixturePath("safetensors", "all_dtypes.safetensors");

Deno.test("reads every type as Python wrote it", () => {
  using store = openSafetensors(ALL_DTYPES);
  assertEquals(store.metadata, { format: "pt" });
  assertEquals(store.tensors.size, 14);
  const { dtype, shape } = store.info("bf16");
  assertEquals([dtype, shape], ["BF16", [3, 4]]);

  const f32 = store.readF32("f32");
  assert(Number.isNaN(f32[0]) && f32[1] === Infinity);
  assertEquals(store.readF32("f64"), f32);
  for (const [name, tolerance] of [["f16", 2 ** -11], ["bf16", 2 ** -8]] as const) {
    const rounded = store.readF32(name);
    assert(Number.isNaN(rounded[0]) && rounded[1] === Infinity);
    for (let i = 2; i < f32.length; i++) {
      assert(Math.abs(rounded[i] - f32[i]) <= tolerance * Math.abs(f32[i]), `${name}[${i}]`);
    }
  }
  assertEquals(store.readI32("i64"), Int32Array.of(0, 1, -1, 2 ** 31 - 1, -(2 ** 31)));
  assertEquals(store.readI32("i32"), Int32Array.of(0, 16777216, -(2 ** 31)));
  assertEquals(store.readI32("i16"), Int32Array.of(0, 32767, -32768));
  assertEquals(store.readF32("i8"), Float32Array.of(0, 127, -128));
  assertEquals(store.readF32("u8"), Float32Array.of(0, 128, 255));
  assertEquals(store.readI32("bool"), Int32Array.of(1, 0, 1));
  assertEquals(store.readF32("scalar"), Float32Array.of(2.5));
  assertEquals(store.info("scalar").shape, []);
  assertEquals(store.readF32("empty"), new Float32Array(0));
  assertEquals(store.readF32('quoted "name" é 猫\n'), Float32Array.of(0, 1));
  assertEquals(store.read("bool"), Uint8Array.of(1, 0, 1));
});

Deno.test("refuses values that the asked type does not hold, and wrong names and lengths", () => {
  using store = openSafetensors(ALL_DTYPES);
  assertStringIncludes(
    messageOf(() => store.readI32("i64.large")),
    "element 0 is 9007199254740993",
  );
  assertStringIncludes(messageOf(() => store.readF32("i64.large")), "which F32 does not hold");
  assertStringIncludes(messageOf(() => store.readI32("f16")), "F16 holds no integers");
  const missing = messageOf(() => store.read("lm_head.weight"));
  assertStringIncludes(
    missing,
    'tensor "lm_head.weight": expected to be there, found no such name',
  );
  assertThrows(() => store.readF32("f32", new Float32Array(5)), RangeError, "12 elements");
});

Deno.test("reads into shared memory, at any offset", () => {
  using store = openSafetensors(ALL_DTYPES);
  const memory = new SharedArrayBuffer(256);
  for (const name of ["f32", "bf16", "f16", "f64"]) {
    const into = new Float32Array(memory, 64, 12);
    assertEquals(store.readF32(name, into), into);
    assertEquals([...into], [...store.readF32(name)]);
  }
});

Deno.test("reads ranges: of every type what the whole has there", () => {
  using store = openSafetensors(ALL_DTYPES);
  for (const name of ["f32", "f64", "f16", "bf16", "i8", "u8"]) {
    const whole = store.readF32(name);
    for (let start = 0; start <= whole.length; start++) {
      for (let end = start; end <= whole.length; end++) {
        const into = new Float32Array(end - start);
        store.readRangeF32(name, start, into);
        assertEquals(into, whole.slice(start, end));
      }
    }
    for (const [start, count] of [[-1, 1], [0, whole.length + 1], [whole.length, 1], [NaN, 1]]) {
      assertThrows(
        () => store.readRangeF32(name, start, new Float32Array(count)),
        RangeError,
        `of ${whole.length}`,
      );
    }
  }
});

Deno.test("converts tensors that are longer than a block", () => {
  const count = (1 << 21) + 5;
  const bf16 = Uint16Array.from({ length: count }, (_, i) => i % 0x7f00);
  withFolder((folder) => {
    const path = join(folder, "large.safetensors");
    const header = `{"x":{"dtype":"BF16","shape":[${count}],"data_offsets":[0,${2 * count}]}}`;
    Deno.writeFileSync(path, file(header, new Uint8Array(bf16.buffer)));
    using store = openSafetensors(path);
    const bits = new Uint32Array(store.readF32("x").buffer);
    assert(bits.every((value, i) => value === bf16[i] << 16));
  });
});

Deno.test("reads the golden values and models of other programs", () => {
  using model = openSafetensors(sharedPath("models", "stories260k", "model.safetensors"));
  assertEquals(model.info("model.embed_tokens.weight").shape, [512, 64]);
  using expected = openSafetensors(sharedPath("models", "stories260k", "expected.safetensors"));
  assertEquals(expected.readI32("ids").length, 48);
  assertEquals(expected.info("logits").shape, [2, 24, 512]);
});

Deno.test("closed files are not read", () => {
  const store = openSafetensors(ALL_DTYPES);
  store.close();
  store.close();
  assertThrows(() => store.read("f32"), Error, "after it was closed");
});

/** The message with which a file of these bytes is refused. */
function refusal(bytes: Uint8Array): string {
  let message = "";
  withFolder((folder) => {
    const path = join(folder, "bad.safetensors");
    Deno.writeFileSync(path, bytes);
    message = messageOf(() => openSafetensors(path));
    assert(message.startsWith(path) || message.includes(`problems in ${path}`), message);
  });
  return message;
}

const length = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
};

const tensor = (fields: Record<string, unknown>) =>
  JSON.stringify({ x: { dtype: "F32", shape: [1], data_offsets: [0, 4], ...fields } });

const four = new Uint8Array(4);

const REFUSALS: ReadonlyArray<readonly [what: string, bytes: Uint8Array, message: string]> = [
  ["an empty file", new Uint8Array(0), "expected a safetensors file, at least 8 bytes, found 0"],
  ["a header of 2^60 bytes", length(1n << 60n), "expected at most 100000000 bytes, found a length"],
  ["a header beyond the file", length(100n), "expected 100 bytes, as the file says, found 8"],
  ["no JSON", file("{x}"), "header: expected JSON, found"],
  ["no header", file(""), "header: expected JSON, found"],
  ["no UTF-8", file("{}").fill(0xff, 8), "header: expected UTF-8 text"],
  ["a list", file("[]"), "header: expected a JSON object, found []"],
  ["metadata that is a list", file('{"__metadata__":[]}'), "__metadata__: expected an object"],
  ["metadata of numbers", file('{"__metadata__":{"a":1}}'), '__metadata__ "a": expected a text'],
  ["a tensor that is a number", file('{"x":1}'), 'tensor "x": expected an object with dtype'],
  ["an unknown dtype", file(tensor({ dtype: "F8_E4M3" }), four), "expected a dtype of F64, I64"],
  ["a dtype of Object", file(tensor({ dtype: "toString" }), four), 'found "toString"'],
  ["a negative size", file(tensor({ shape: [-1] }), four), "expected a shape of non-negative"],
  ["half a size", file(tensor({ shape: [0.5] }), four), "expected a shape of non-negative"],
  ["no shape", file(tensor({ shape: null }), four), "found null"],
  ["one offset", file(tensor({ data_offsets: [0] }), four), "expected data_offsets of two"],
  ["offsets that descend", file(tensor({ data_offsets: [4, 0] }), four), "expected data_offsets"],
  ["half an offset", file(tensor({ data_offsets: [0.5, 4] }), four), "expected data_offsets"],
  ["negative offsets", file(tensor({ data_offsets: [-4, 0] }), four), "expected data_offsets"],
  [
    "huge offsets",
    file('{"x":{"dtype":"F32","shape":[1],"data_offsets":[1e300,1e300]}}', four),
    "expected data_offsets of two",
  ],
  ["shape and offsets that differ", file(tensor({ shape: [2] }), four), "expected 8 bytes for F32"],
  [
    "a product that overflows",
    file(tensor({ shape: [2 ** 30, 2 ** 30] }), four),
    "expected a shape of fewer than 2^53 bytes",
  ],
  [
    "a product that overflows to zero",
    file(tensor({ shape: [2 ** 40, 2 ** 40, 0], data_offsets: [0, 0] })),
    "expected a shape of fewer than 2^53 bytes",
  ],
  [
    "a gap at the start",
    file(tensor({ data_offsets: [4, 8] }), new Uint8Array(8)),
    "expected data_offsets from 0, where the header ends, found 4: a gap",
  ],
  [
    "a gap",
    file(
      '{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},' +
        '"y":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}',
      four,
    ),
    'tensor "y": expected data_offsets from 2, where tensor "x" ends, found 3: a gap',
  ],
  [
    "an overlap",
    file(
      '{"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},' +
        '"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
      four,
    ),
    'tensor "y": expected data_offsets from 3, where tensor "x" ends, found 2: they overlap',
  ],
  [
    "a tensor within another",
    file(
      '{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},' +
        '"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
      four,
    ),
    "they overlap",
  ],
  ["a file that is cut off", file(tensor({}), four.subarray(1)), "the file is cut off: download"],
  [
    "bytes after the last tensor",
    file(tensor({}), new Uint8Array(5)),
    "the last tensor to end with",
  ],
  [
    "a tensor that is named twice",
    file(
      '{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
        '"\\u0078":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      four,
    ),
    'header key "x": expected to be there once, found it twice',
  ],
  [
    "a field that is given twice",
    file('{"x":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', four),
    'header key "dtype": expected to be there once',
  ],
];

for (const [what, bytes, message] of REFUSALS) {
  Deno.test(`refuses ${what}`, () => assertStringIncludes(refusal(bytes), message));
}

Deno.test("reports all problems of a header at once", () => {
  const message = refusal(file('{"a":1,"b":{"dtype":"X","shape":-1,"data_offsets":[]}}'));
  assertStringIncludes(message, "4 problems in ");
  for (const part of ['tensor "a"', 'tensor "b"', "dtype of", "shape of", "data_offsets of"]) {
    assertStringIncludes(message, part);
  }
});

Deno.test("lists the first of very many problems", () => {
  const entries = Array.from({ length: 1000 }, (_, i) => `"${i}":0`);
  assertStringIncludes(refusal(file(`{${entries.join(",")}}`)), "… and 980 more");
});

Deno.test("survives a deeply nested header and quotes no control characters", () => {
  const depth = 100_000;
  const deep = `{"x":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  assertStringIncludes(refusal(file(deep)), 'tensor "x": expected an object');
  const message = refusal(file('{"\\u001b[31m\\u009b\\u202ered":1}'));
  assertStringIncludes(message, '"\\u001b[31m\\u009b\\u202ered"');
});

Deno.test("a missing file and a folder are said to be so", () => {
  withFolder((folder) => {
    const path = join(folder, "none.safetensors");
    const message = messageOf(() => openSafetensors(path));
    assertEquals(
      message,
      `${path}: expected a file that can be read, found no such file or folder; check the path`,
    );
    assertStringIncludes(messageOf(() => openSafetensors(folder)), "found a folder");
  });
});

Deno.test("a file that shrinks while it is read", () => {
  withFolder((folder) => {
    const path = join(folder, "shrinking.safetensors");
    Deno.writeFileSync(path, file(tensor({}), four));
    using store = openSafetensors(path);
    Deno.truncateSync(path, 20);
    const error = assertThrows(() => store.readF32("x"), FormatError);
    assertStringIncludes(error.message, "found the end of the file after 0");
  });
});

Deno.test("tensors that an architecture asks for: all that are wrong are told", () => {
  using store = openSafetensors(ALL_DTYPES);
  expectTensors(store, [{ name: "bf16", shape: [3, 4] }, { name: "scalar", shape: [] }]);
  const message = messageOf(() =>
    expectTensors(store, [
      { name: "bf16", shape: [4, 3] },
      { name: "i8", shape: [3] },
      { name: "lm_head.weight", shape: [2] },
      { name: "f32", shape: [3, 4] },
    ])
  );
  for (
    const part of [
      `3 problems in ${ALL_DTYPES}`,
      'tensor "bf16": expected shape [4, 3], found [3, 4]; config.json and weights are of different',
      'tensor "i8": expected dtype F64, F32, F16, BF16, found I8; use the checkpoint before',
      'tensor "lm_head.weight": expected a tensor of shape [2], found none of this name',
    ]
  ) assertStringIncludes(message, part);
  expectTensors(store, [{ name: "i64", shape: [5] }], ["I64"]);
});
