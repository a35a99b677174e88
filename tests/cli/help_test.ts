import { assert, assertEquals } from "@std/assert";
import { sharedPath } from "../support/shared.ts";
import { runTask } from "../support/task.ts";

/** Tasks that are commands, which is all but the tests. */
const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("../../deno.json", import.meta.url)));
const TASKS = Object.keys(tasks).filter((name) => name !== "test");

Deno.test("commands: each has a help that names it and --json, and does nothing else", async () => {
  const results = await Promise.all(TASKS.map((name) => runTask(name, "--help")));
  results.forEach(({ code, stdout, stderr }, i) => {
    assertEquals(code, 0, `${TASKS[i]}: ${stderr}`);
    assert(stdout.startsWith(`${TASKS[i]}: `), stdout);
    assert(stdout.includes("  --json ") && stdout.includes("Exit code: 0 done"), stdout);
  });
});

/** Commands and what their help must name. */
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  generate: ["CHECKPOINT", "--prompt", "--tokens", "--temperature", "--top-p", "--seed"],
  evaluate: ["CHECKPOINT", "--text", "--context"],
  forward: ["CHECKPOINT", "--ids", "--out"],
  golden: ["DIR", "--only"],
  convert: ["RECIPE", "--out", "--resume", "--seed"],
  plan: ["RECIPE", "--on", "--price", "--config"],
  bench: ["[WHAT]", "--all", "--only", "--quick", "--out", "--shape", "--vs"],
};

for (const [name, words] of Object.entries(COMMANDS)) {
  Deno.test(`${name}: --help, and a wrong command line`, async () => {
    const [help, wrong] = await Promise.all([
      runTask(name, "--help"),
      runTask(name, "--colour", "red"),
    ]);
    assertEquals({ code: help.code, stderr: help.stderr }, { code: 0, stderr: "" });
    assert(help.stdout.startsWith(`${name}: `));
    for (
      const word of [
        ...words,
        "--device",
        "--threads",
        "--blas",
        "--native",
        "--products",
        "--json",
        "--help",
      ]
    ) {
      assert(help.stdout.includes(`  ${word} `), `${help.stdout} lacks ${word}`);
    }
    assertEquals({ code: wrong.code, stdout: wrong.stdout }, { code: 2, stdout: "" });
    assert(wrong.stderr.includes('there is no flag "--colour"'), wrong.stderr);
    assert(wrong.stderr.includes(`Run \`deno task ${name} --help\``), wrong.stderr);
  });
}

Deno.test("commands: a device that there is not, threads and a BLAS that cannot be", async () => {
  const run = (...flags: string[]) => runTask("golden", sharedPath("golden"), ...flags);
  const [device, both, native, products, threads, blas] = await Promise.all([
    run("--device", "tpu"),
    run("--device", "webgpu", "--threads", "2"),
    run("--device", "cuda", "--native", "none"),
    run("--products", "tf32"),
    run("--threads", "0"),
    run("--blas", "/nowhere/libblas.so"),
  ]);
  for (const { code, stdout } of [device, both, native, products, threads, blas]) {
    assertEquals([code, stdout], [2, ""]);
  }
  const names = "cpu, webgpu, cuda or auto";
  assert(device.stderr.startsWith(`golden: --device: expected ${names}, found "tpu"\n`));
  assert(both.stderr.includes("--threads: expected --device cpu, whose it is, found"), both.stderr);
  assert(native.stderr.includes("--native: expected --device cpu, whose it is, found --dev"));
  assert(
    products.stderr.includes("--products: expected f32 on --device cpu, found tf32, which is for "),
  );
  assert(threads.stderr.includes('--threads: expected a whole number from 1 to 256, found "0"'));
  assert(blas.stderr.includes('expected a library with cblas_sgemm, found "/nowhere/libblas.so"'));
});

Deno.test("commands: any device is one that is named, with a reason", async () => {
  const flags = ["--only", "lr_schedule", "--device", "auto"];
  const { code, stderr } = await runTask("golden", sharedPath("golden"), ...flags);
  assertEquals(code, 0);
  assert(/--device auto: (cpu|webgpu|cuda), because /.test(stderr), stderr);
});
