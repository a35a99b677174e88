import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { toJson } from "../../dsl/json.ts";
import { align, distill } from "../../dsl/stages.ts";
import { runFolderOf } from "../../train/conversion.ts";
import { startTask } from "../support/task_process.ts";
import { digestOf, minuteRecipe, namesIn, run, steps, withFolder } from "./support.ts";

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Lines of telemetry of a stage, whole ones. */
function linesOf(folder: string, stageIndex: number): number {
  try {
    return Deno.readTextFileSync(join(folder, "telemetry.jsonl")).split("\n").slice(0, -1)
      .filter((line) => JSON.parse(line).stageIndex === stageIndex).length;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

/** Looks for the moment without a pause for this many milliseconds at a time. */
const LOOK = 20;

function comes(moment: () => boolean): boolean {
  for (const end = performance.now() + LOOK; performance.now() < end;) if (moment()) return true;
  return false;
}

/** Kills the process once the moment has come; fails if it ends before. */
async function killAt(process: Deno.ChildProcess, moment: () => boolean): Promise<void> {
  let ended = false;
  const output = process.output().finally(() => ended = true);
  while (!ended && !comes(moment)) await new Promise((resolve) => setTimeout(resolve, 0));
  if (ended) {
    const { stderr } = await output;
    throw new Error(`it ended before it was killed: ${new TextDecoder().decode(stderr)}`);
  }
  process.kill("SIGKILL");
  assertEquals((await output).signal, "SIGKILL");
}

Deno.test("killed at six moments, one while a checkpoint is written, the weights are the same", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, {
      stages: [align(steps(60)), distill(steps(40))],
    });
    await run(device, recipe);
    const expected = digestOf(recipe);
    await Deno.remove(recipe.output, { recursive: true });

    const file = join(folder, "recipe.json");
    await Deno.writeTextFile(file, toJson(recipe));
    const flags = ["--blas", "none", "--threads", "2", "--checkpoint-every", "0"];
    const start = (...more: string[]) => startTask("convert", file, ...flags, ...more);
    const at = runFolderOf(recipe, recipe.output);
    const stage = join(at, "stage.safetensors");
    const partial = join(at, "progress.safetensors.partial");

    await killAt(start(), () => exists(join(at, "tokens-0.bin.partial")) || exists(stage));
    await killAt(start("--resume"), () => linesOf(at, 0) >= 3);
    // It may be renamed between our look and the signal.
    let caught = 0;
    for (let attempt = 0; attempt < 20 && caught === 0; attempt++) {
      await killAt(start("--resume"), () => exists(partial));
      if (exists(partial)) caught++;
    }
    assertEquals(caught, 1, "a checkpoint that was being written");
    await killAt(start("--resume"), () => linesOf(at, 1) >= 1);
    await killAt(start("--resume"), () => linesOf(at, 1) >= 20);
    await killAt(start("--resume"), () => linesOf(at, 1) >= 40);

    const { code, stdout, stderr } = await start("--resume", "--json").output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const report = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals(digestOf(recipe), expected);
    assertEquals(report.stages.length, 2);
    assertEquals(namesIn(folder), ["out", "recipe.json", "teacher", "text.txt"]);
    const lines = Deno.readTextFileSync(join(recipe.output, "telemetry.jsonl")).trimEnd();
    assertEquals(
      lines.split("\n").map((line) => JSON.parse(line)).map((line) => [line.stage, line.step]),
      [
        ...Array.from({ length: 60 }, (_, i) => ["align", i + 1]),
        ...Array.from({ length: 40 }, (_, i) => ["distill", i + 1]),
      ],
    );
  }, 2);
});

Deno.test("killed layer by layer, in and between windows, the weights are the same", async () => {
  await withFolder(async (folder, device) => {
    const recipe = minuteRecipe(folder, { stages: [align({ ...steps(60), streamed: true })] });
    await run(device, recipe);
    const expected = digestOf(recipe);
    await Deno.remove(recipe.output, { recursive: true });

    const file = join(folder, "recipe.json");
    await Deno.writeTextFile(file, toJson(recipe));
    const flags = ["--blas", "none", "--threads", "2", "--checkpoint-every", "0"];
    // Windows of a few steps, other ones after every kill.
    const start = (kilobytes: number, ...more: string[]) =>
      startTask("convert", file, ...flags, "--scratch", `${kilobytes / 1e6}`, ...more);
    const at = runFolderOf(recipe, recipe.output);
    const layer = (name: string) => join(at, "layers-0", name);

    await killAt(start(50), () => exists(layer("window.json")));
    await killAt(start(30, "--resume"), () => exists(layer("layer-0.safetensors")));
    await killAt(start(40, "--resume"), () => exists(layer("layer-1.safetensors.partial")));
    await killAt(start(20, "--resume"), () => linesOf(at, 0) >= 10);
    await killAt(start(90, "--resume"), () => linesOf(at, 0) >= 40);

    const { code, stdout, stderr } = await start(50, "--resume", "--json").output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assertEquals(JSON.parse(new TextDecoder().decode(stdout)).stages.length, 1);
    assertEquals(digestOf(recipe), expected);
    assertEquals(namesIn(folder), ["out", "recipe.json", "teacher", "text.txt"]);
    const lines = Deno.readTextFileSync(join(recipe.output, "telemetry.jsonl")).trimEnd();
    assertEquals(
      lines.split("\n").map((line) => JSON.parse(line).step),
      Array.from({ length: 60 }, (_, i) => i + 1),
    );
  }, 2);
});
