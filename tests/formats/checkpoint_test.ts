import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { INDEX_FILE, SINGLE_FILE } from "../../formats/safetensors/weight_map.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { type TensorSource, writeSafetensors } from "../../formats/safetensors/write.ts";
import { writeCheckpoint } from "../../formats/safetensors/write_checkpoint.ts";
import { sharedPath } from "../support/shared.ts";
import { filesIn, fixturePath, messageOf, withFolder } from "./support.ts";

const SHARDED = fixturePath("safetensors", "sharded");

/** The tensors of an open checkpoint, to be written again. */
function sourcesOf(path: string): TensorSource[] {
  using store = openCheckpoint(path);
  return [...store.tensors.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    data: store.read(name),
  }));
}

function sameFiles(folder: string, expected: string): void {
  assertEquals(filesIn(folder), filesIn(expected));
  for (const name of filesIn(folder)) {
    assertEquals(
      new TextDecoder("latin1").decode(Deno.readFileSync(join(folder, name))),
      new TextDecoder("latin1").decode(Deno.readFileSync(join(expected, name))),
      name,
    );
  }
}

Deno.test("writes a file byte for byte as Python does", () => {
  withFolder((folder) => {
    const fixture = fixturePath("safetensors", "all_dtypes.safetensors");
    const path = join(folder, "all.safetensors");
    // In any order.
    writeSafetensors(path, sourcesOf(fixture).reverse());
    assertEquals(Deno.readFileSync(path), Deno.readFileSync(fixture));
  });
});

Deno.test("writes several files and their index byte for byte as Python does", () => {
  withFolder((folder) => {
    const written = writeCheckpoint(folder, sourcesOf(SHARDED), { shardBytes: 260 });
    assertEquals(written.bytes, 368);
    assertEquals(written.files, [
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
      INDEX_FILE,
    ]);
    sameFiles(folder, SHARDED);
  });
});

Deno.test("reads several files as one checkpoint", () => {
  using store = openCheckpoint(SHARDED);
  assertEquals([...store.tensors.keys()].sort(), [
    "model.embed_tokens.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.1.mlp.up_proj.weight",
    "model.norm.weight",
  ]);
  assertEquals(store.readF32("model.norm.weight"), new Float32Array(4).fill(1));
  assertEquals(
    store.readF32("model.layers.0.mlp.up_proj.weight"),
    Float32Array.from({ length: 24 }, (_, i) => i),
  );
});

Deno.test("reads a folder with a single file, and a file", () => {
  const path = sharedPath("golden", "tiny-qwen2");
  using folder = openCheckpoint(path);
  using file = openCheckpoint(join(path, SINGLE_FILE));
  assertEquals([...folder.tensors], [...file.tensors]);
});

Deno.test("converts numbers, and makes data when its turn comes", () => {
  withFolder((folder) => {
    const made: string[] = [];
    const long = Float32Array.from({ length: (1 << 20) + 3 }, (_, i) => i % 256);
    writeCheckpoint(folder, [
      { name: "b", dtype: "BF16", shape: [long.length], data: () => (made.push("b"), long) },
      { name: "i", dtype: "I64", shape: [2], data: Int32Array.of(-1, 7) },
      {
        name: "pieces",
        dtype: "F32",
        shape: [2, 2],
        data: function* () {
          made.push("pieces");
          yield Float32Array.of(1, 2, 3);
          yield Float32Array.of(4);
        },
      },
    ]);
    assertEquals(made, ["pieces", "b"]);
    assertEquals(filesIn(folder), [SINGLE_FILE]);
    using store = openCheckpoint(folder);
    assertEquals(store.readF32("b"), long);
    assertEquals(store.readI32("i"), Int32Array.of(-1, 7));
    assertEquals(store.readF32("pieces"), Float32Array.of(1, 2, 3, 4));
    assertEquals(store.metadata, { format: "pt" });
    // The data of every type begins where its numbers are aligned.
    assertEquals([...store.tensors.values()].map(({ begin }) => begin % 8), [0, 0, 0]);
  });
});

Deno.test("a tensor larger than the limit has a file to itself", () => {
  withFolder((folder) => {
    const tensor = (name: string, count: number): TensorSource => ({
      name,
      dtype: "U8",
      shape: [count],
      data: new Uint8Array(count),
    });
    const tensors = [tensor("a", 3), tensor("b", 20), tensor("c", 4), tensor("d", 4)];
    assertEquals(writeCheckpoint(folder, tensors, { shardBytes: 8 }).files.length, 4);
    using store = openCheckpoint(folder);
    assertEquals(
      [...store.tensors.values()].map(({ name, file }) => [name, file.slice(-22, -12)]),
      [["a", "1-of-00003"], ["b", "2-of-00003"], ["c", "3-of-00003"], ["d", "3-of-00003"]],
    );
  });
});

Deno.test("a new checkpoint takes the place of the old one's files, and of no others", () => {
  withFolder((folder) => {
    const sources = sourcesOf(SHARDED);
    Deno.writeTextFileSync(join(folder, "model-of-mine.safetensors"), "");
    writeCheckpoint(folder, sources);
    writeCheckpoint(folder, sources, { shardBytes: 100 });
    writeCheckpoint(folder, sources, { shardBytes: 260 });
    assertEquals(filesIn(folder), ["model-of-mine.safetensors", ...filesIn(SHARDED)].sort());
    writeCheckpoint(folder, sources);
    assertEquals(filesIn(folder), ["model-of-mine.safetensors", SINGLE_FILE]);
  });
});

Deno.test("data that fails on the way leaves the old files and no partial ones", () => {
  withFolder((folder) => {
    writeCheckpoint(folder, sourcesOf(SHARDED), { shardBytes: 260 });
    const broken: TensorSource = {
      name: "z",
      dtype: "F32",
      shape: [100],
      data: function* () {
        yield new Float32Array(50);
        throw new TypeError("device lost");
      },
    };
    const write = () =>
      writeCheckpoint(folder, [...sourcesOf(SHARDED), broken], { shardBytes: 260 });
    assertThrows(write, TypeError, "device lost");
    sameFiles(folder, SHARDED);
  });
});

Deno.test("refuses tensors that make no file", () => {
  withFolder((folder) => {
    const good: TensorSource = { name: "x", dtype: "F32", shape: [2], data: new Float32Array(2) };
    const refuse = (tensors: TensorSource[], message: string) => {
      assertThrows(() => writeCheckpoint(folder, tensors), RangeError, message);
      const path = join(folder, "single.safetensors");
      assertThrows(() => writeSafetensors(path, tensors), RangeError, message);
    };
    refuse([{ ...good, name: "__metadata__" }], "no tensor may be named __metadata__");
    refuse([good, good], 'two tensors are named "x"');
    refuse([{ ...good, shape: [1] }], "takes 4 bytes, its data has more");
    refuse([{ ...good, shape: [3] }], "takes 12 bytes, its data has 8");
    refuse([{ ...good, shape: [-2] }], "impossible shape [-2]");
    refuse([{ ...good, shape: [2 ** 52, 4] }], "impossible shape");
    refuse([{ ...good, dtype: "U8", data: Float32Array.of(1, 300) }], "element 1 is 300");
    assertEquals(filesIn(folder), []);
  });
});

Deno.test("names that look like numbers keep their bytes", () => {
  withFolder((folder) => {
    const path = join(folder, "x.safetensors");
    const names = ["b", "10", "9", "__proto__"];
    writeSafetensors(
      path,
      names.map((name, i) => ({ name, dtype: "U8", shape: [1], data: Uint8Array.of(i) })),
    );
    using store = openSafetensors(path);
    for (const [i, name] of names.entries()) assertEquals(store.read(name), Uint8Array.of(i));
  });
});

/** The message with which a folder with this index is refused. */
function indexRefusal(index: string): string {
  let message = "";
  withFolder((folder) => {
    for (const name of filesIn(SHARDED)) {
      Deno.copyFileSync(join(SHARDED, name), join(folder, name));
    }
    Deno.writeTextFileSync(join(folder, INDEX_FILE), index);
    message = messageOf(() => openCheckpoint(folder));
  });
  return message;
}

const first = "model-00001-of-00002.safetensors";

for (
  const [what, index, expected] of [
    ["that is no JSON", "{", "expected JSON"],
    ["that is a list", "[]", "weight_map: expected an object"],
    ["without a weight_map", "{}", "weight_map: expected an object"],
    ["that names a number", '{"weight_map":{"x":1}}', 'weight_map "x": expected the name'],
    ["that reaches out", '{"weight_map":{"x":"../x.safetensors"}}', "may not reach outside"],
    ["with an absolute path", '{"weight_map":{"x":"/x.safetensors"}}', "may not reach outside"],
    ["with a backslash", '{"weight_map":{"x":"..\\\\x.safetensors"}}', "may not reach outside"],
    ["that names another kind of file", '{"weight_map":{"x":"config.json"}}', "may not reach"],
    ["that names a missing file", '{"weight_map":{"x":"gone.safetensors"}}', "no such file"],
    ["that names a missing tensor", `{"weight_map":{"x":"${first}"}}`, "found no such name"],
    ["with a tensor twice", `{"weight_map":{"x":"${first}","x":"${first}"}}`, "be there once"],
  ] as const
) {
  Deno.test(`refuses an index ${what}`, () => assertStringIncludes(indexRefusal(index), expected));
}

Deno.test("reports all problems of an index and its files at once", () => {
  const message = indexRefusal(
    `{"weight_map":{"x":"${first}","y":"a.safetensors","z":"${first}"}}`,
  );
  assertStringIncludes(message, "3 problems");
  for (const part of ['tensor "x"', 'tensor "z"', "a.safetensors: expected a file"]) {
    assertStringIncludes(message, part);
  }
});

Deno.test("a folder without a checkpoint, and no folder", () => {
  withFolder((folder) => {
    assertStringIncludes(
      messageOf(() => openCheckpoint(folder)),
      "expected model.safetensors or model.safetensors.index.json, found neither",
    );
    assertStringIncludes(messageOf(() => openCheckpoint(join(folder, "no"))), "no such file");
  });
});
