import { assert, assertEquals } from "@std/assert";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { type TensorSource, writeSafetensors } from "../../formats/safetensors/write.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { sharedPath } from "../support/shared.ts";
import { assertRefused, jsonOf, runTask, runTaskOnSmallDisk } from "../support/task.ts";

const STORIES = sharedPath("models", "stories260k");
const EXPECTED = `${STORIES}/expected.safetensors`;

/** Logits differ from transformers' by no more than this. */
const TOLERANCE = 1e-4;

function assertLogits(file: string): void {
  using found = openSafetensors(file);
  using expected = openSafetensors(EXPECTED);
  const { dtype, shape } = found.info("logits");
  assertEquals({ dtype, shape }, { dtype: "F32", shape: [2, 24, 512] });
  assertEquals([...found.tensors.keys()], ["logits"]);
  const logits = expected.readF32("logits");
  const error = found.readF32("logits")
    .reduce((top, x, i) => Math.max(top, Math.abs(x - logits[i])), 0);
  assert(error <= TOLERANCE, `a logit is ${error} off`);
}

Deno.test("forward: logits of a real model, from ids of any integer type", async () => {
  using own = temporaryFolder();
  using store = openSafetensors(EXPECTED);
  const data = store.readI32("ids");
  for (const dtype of ["I32", "I64", "I16"] as const) {
    const [ids, out] = [`${own.folder}/${dtype}.safetensors`, `${own.folder}/out/${dtype}.st`];
    writeSafetensors(ids, [{ name: "ids", dtype, shape: [2, 24], data }]);
    const result = await runTask("forward", STORIES, "--ids", ids, "--out", out, "--json");
    const report = jsonOf(result);
    assertEquals(report.shape, [2, 24, 512]);
    assertEquals(report.bytes, 4 * 2 * 24 * 512);
    assertLogits(out);
  }
  const files = [...Deno.readDirSync(`${own.folder}/out`)].map(({ name }) => name).sort();
  assertEquals(files, ["I16.st", "I32.st", "I64.st"]);
});

Deno.test("forward: an older result is replaced", async () => {
  using own = temporaryFolder();
  const out = `${own.folder}/logits.safetensors`;
  Deno.writeTextFileSync(out, "something else");
  const { code, stdout } = await runTask("forward", STORIES, "--ids", EXPECTED, "--out", out);
  assertEquals({ code, stdout }, { code: 0, stdout: `${out}: logits [2, 24, 512]\n` });
  assertLogits(out);
});

Deno.test("forward: ids that are none, and nothing is written", async () => {
  using own = temporaryFolder();
  const out = `${own.folder}/out.safetensors`;
  const file = (tensor: TensorSource) => {
    const path = `${own.folder}/ids.safetensors`;
    writeSafetensors(path, [tensor]);
    return path;
  };
  const ids = (shape: readonly number[], values: readonly number[]) =>
    file({ name: "ids", dtype: "I32", shape, data: Int32Array.from(values) });
  const refused = async (path: string, ...expected: (string | RegExp)[]) => {
    const result = await runTask("forward", STORIES, "--ids", path, "--out", out);
    assertRefused(result, ...expected);
    assertEquals([...Deno.readDirSync(own.folder)].map(({ name }) => name), ["ids.safetensors"]);
  };
  ids([1, 1], [0]);
  await refused(`${own.folder}/none`, /none: .*no such file or folder; check the path\n$/);
  await refused(
    ids([1, 4], [1, 2, 512, 3]),
    'tensor "ids": expected ids 0 … 511, found 512 at [0, 2]; use the tokenizer',
  );
  await refused(ids([2, 2], [1, 2, 3, -1]), "found -1 at [1, 1]");
  await refused(ids([4], [1, 2, 3, 4]), "expected shape [batch, time], found [4]");
  await refused(ids([2, 0], []), "expected shape [batch, time], found [2, 0]");
  await refused(
    file({ name: "ids", dtype: "F32", shape: [1, 2], data: Float32Array.of(1, 2) }),
    "expected an integer type, found F32; store the ids as I32 or I64",
  );
  await refused(
    file({ name: "tokens", dtype: "I32", shape: [1, 1], data: Int32Array.of(1) }),
    'tensor "ids": expected to be there',
  );
});

Deno.test("forward: a place where nothing can be written", async () => {
  using own = temporaryFolder();
  Deno.writeTextFileSync(`${own.folder}/file`, "");
  const out = `${own.folder}/file/logits.safetensors`;
  const result = await runTask("forward", STORIES, "--ids", EXPECTED, "--out", out);
  assertRefused(
    result,
    /file\/logits\.safetensors: expected to write this file, .*; check the path/,
  );
});

Deno.test("forward: a full disk keeps nothing of what did not fit", async () => {
  using own = temporaryFolder();
  const out = `${own.folder}/logits.safetensors`;
  const result = await runTaskOnSmallDisk(
    ...[own.folder, 32, "forward", STORIES, "--ids", EXPECTED, "--out", out] as const,
  );
  assertRefused(result, /found that the disk is full; make room and run it again/);
});
