import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { worstOf } from "../../cli/golden/result.ts";
import { openSafetensors } from "../../formats/safetensors/store.ts";
import { writeSafetensors } from "../../formats/safetensors/write.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/checkpoint.ts";
import { sharedPath } from "../support/shared.ts";
import { assertRefused, jsonOf, runTask } from "../support/task.ts";

const FIXTURES = fileURLToPath(new URL("../models/fixtures/golden", import.meta.url));

/** A golden directory with a few cases of the fixtures, which can be spoilt. */
function copyOf(...names: readonly string[]): TemporaryFolder {
  const own = temporaryFolder();
  const manifest = JSON.parse(Deno.readTextFileSync(`${FIXTURES}/manifest.json`));
  const cases = names.map((name) => [name, manifest.cases[name]]);
  const json = JSON.stringify({ cases: Object.fromEntries(cases) });
  Deno.writeTextFileSync(`${own.folder}/manifest.json`, json);
  for (const name of names) {
    Deno.copyFileSync(`${FIXTURES}/${name}.safetensors`, `${own.folder}/${name}.safetensors`);
  }
  return own;
}

/** Adds something to the first element of a tensor of a file. */
function spoil(file: string, tensor: string, by: number): void {
  const tensors = (() => {
    using store = openSafetensors(file);
    return [...store.tensors.values()].map(({ name, dtype, shape }) => {
      const data = store.readF32(name);
      if (name === tensor) data[0] += by;
      return { name, dtype, shape, data };
    });
  })();
  writeSafetensors(file, tensors);
}

Deno.test("golden: what is not finite is the worst error", () => {
  const close = { tensor: "close", found: [1.5], expected: [1] };
  const [infinite, none] = [Infinity, NaN].map((value) => [value, 1]);
  for (const [found, expected] of [[none, infinite], [infinite, none], [none, [1, 1]]]) {
    const worst = worstOf([close, { tensor: "odd", found, expected }]);
    assertEquals(worst, { error: Infinity, tensor: "odd" });
  }
});

Deno.test("golden: a line a case, and the sum", async () => {
  const [lines, json] = await Promise.all([
    runTask("golden", FIXTURES, "--only", "rad_rwkv7"),
    runTask("golden", FIXTURES, "--json"),
  ]);
  assertEquals(lines.code, 0, lines.stderr);
  const rows = lines.stdout.trimEnd().split("\n");
  assertEquals(rows.length, 9);
  for (const row of rows.slice(0, 8)) {
    const parts = /^rad_rwkv7_[a-h] +ok +outputs [\d.e-]+ \(\w+\) +gradients [\d.e-]+ \([\w.]+\)$/;
    assert(parts.test(row), row);
  }
  assert(rows[8].startsWith("8 of 8 cases pass"), rows[8]);
  const report = jsonOf(json);
  assertEquals([report.passed, report.failed], [report.cases.length, 0]);
  assert(report.cases.length >= 33);
  assertEquals(report.tolerances, { outputs: 2e-5, gradients: 2e-4 });
  for (const each of report.cases) {
    assert(each.passed && each.outputs.error <= 2e-5, JSON.stringify(each));
  }
});

Deno.test("golden: one case over its tolerance, and the exit code is 1", async () => {
  using own = copyOf("attention_biases", "stage1_loss_two_layers");
  spoil(`${own.folder}/attention_biases.safetensors`, "grad.param.o_proj.bias", 0.01);
  const report = jsonOf(await runTask("golden", own.folder, "--json"), 1);
  assertEquals([report.passed, report.failed], [1, 1]);
  const [spoilt] = report.cases;
  assertEquals(spoilt.passed, false);
  assertEquals(spoilt.gradients.tensor, "param.o_proj.bias");
  assert(spoilt.gradients.error > 2e-4 && spoilt.outputs.error < 2e-5);
  const { code, stdout } = await runTask("golden", own.folder, "--only", "biases");
  assertEquals(code, 1);
  assert(/^attention_biases +FAILED /.test(stdout), stdout);
});

Deno.test("golden: NaN is over every tolerance", async () => {
  using own = copyOf("stage1_loss_two_layers");
  spoil(`${own.folder}/stage1_loss_two_layers.safetensors`, "out.loss", NaN);
  assertEquals((await runTask("golden", own.folder)).code, 1);
});

Deno.test("golden: a case that cannot be run fails and does not hide the others", async () => {
  using own = copyOf("attention_biases", "kl_loss_v40", "wkv7_n12");
  Deno.truncateSync(`${own.folder}/attention_biases.safetensors`, 5000);
  Deno.removeSync(`${own.folder}/kl_loss_v40.safetensors`);
  const report = jsonOf(await runTask("golden", own.folder, "--json"), 1);
  const [cut, missing, whole] = report.cases;
  assert(cut.problem.includes("the file is cut off"), cut.problem);
  assert(missing.problem.includes("no such file or folder"), missing.problem);
  assertEquals([cut.passed, missing.passed, whole.passed], [false, false, true]);
});

Deno.test("golden: a loss whose config does not say which it is", async () => {
  using own = copyOf("kl_loss_v40");
  const manifest = `${own.folder}/manifest.json`;
  const json = JSON.parse(Deno.readTextFileSync(manifest));
  json.cases.kl_loss_v40.config = {};
  Deno.writeTextFileSync(manifest, JSON.stringify(json));
  const { code, stdout } = await runTask("golden", own.folder);
  assertEquals(code, 1);
  const [row] = stdout.split("\n");
  assert(row.endsWith("expected V, which a KL loss has, or layers, which a stage-1 loss has"), row);
});

Deno.test("golden: blocks that nobody knows are said to be, and count as failed", async () => {
  using own = copyOf("stage1_loss_two_layers");
  const file = `${own.folder}/stage1_loss_two_layers.safetensors`;
  const data = new Float32Array(4);
  writeSafetensors(file, [{ name: "in.mystery", dtype: "F32", shape: [4], data }]);
  const { code, stdout } = await runTask("golden", own.folder);
  assertEquals(code, 1);
  const [row, sum] = stdout.trimEnd().split("\n");
  assert(row.endsWith("a mixer or a loss, found in.mystery"), row);
  assert(sum.startsWith("0 of 1 cases pass"), sum);
});

Deno.test("golden: RAD-RWKV6 passes in every shared case", async () => {
  const { code, stdout } = await runTask("golden", sharedPath("golden"), "--only", "rwkv6");
  assertEquals(code, 0, stdout);
  assert(stdout.includes("4 of 4 cases pass"), stdout);
});

Deno.test("golden: directories that are none", async () => {
  using own = temporaryFolder();
  assertRefused(
    await runTask("golden", `${own.folder}/none`),
    /none\/manifest\.json: .*no such file or folder; check the path\n$/,
  );
  Deno.writeTextFileSync(`${own.folder}/manifest.json`, `{"cases": {"a": 3}}`);
  assertRefused(
    await runTask("golden", own.folder),
    "manifest.json: cases.a: expected an object, found 3; use a directory of the form of",
  );
  assertRefused(
    await runTask("golden", FIXTURES, "--only", "rwkv9"),
    /--only: expected a part of one of wkv7_n12, .*, found "rwkv9"/,
  );
});
