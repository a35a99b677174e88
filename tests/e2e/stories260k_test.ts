/** A real pretrained checkpoint converted without a corpus: the teacher writes the text itself. */

import { assert, assertLess } from "@std/assert";
import { openCpu } from "../../devices/cpu/device.ts";
import {
  align,
  cosine,
  distill,
  layers,
  radRwkv6,
  recipe,
  samples,
  teacher,
  tokens,
} from "../../mod.ts";
import { evaluate } from "../../infer/evaluation.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { runRecipe } from "../../train/conversion.ts";
import { writeSamples } from "../../train/samples.ts";
import { sharedPath } from "../support/shared.ts";

const TEACHER = sharedPath("models/stories260k");
const CONTEXT = 256;
/** Fresh text that neither stage has seen. */
const FRESH_TOKENS = 20_000;

const quiet = { note() {}, progress() {}, step() {}, measured() {}, kept() {} };

Deno.test("stories260k converts on its own samples to within 1.10 of its perplexity", async () => {
  const out = `${Deno.makeTempDirSync()}/student`;
  const device = await openCpu({ blas: "none" });
  try {
    const source = samples(teacher(TEACHER), tokens("700K"));
    await runRecipe(
      recipe({
        teacher: teacher(TEACHER),
        surgery: [layers.all.to(radRwkv6({ rope: true }))],
        stages: [
          align({ tokens: tokens("350K"), context: CONTEXT, batch: 4, lr: cosine(5e-3, 1e-5) }),
          distill({ tokens: tokens("450K"), context: CONTEXT, batch: 4, lr: cosine(1e-3, 1e-5) }),
        ],
        data: source,
        output: out,
      }),
      {
        device,
        out,
        resume: false,
        dtype: "float32",
        checkpointSeconds: 1e6,
        events: quiet,
      },
    );

    const original = inspectCheckpoint(TEACHER);
    const model = loadCheckpoint(device, original);
    const tokenizer = checkpointTokenizer(TEACHER, original.config);
    const fresh: number[] = [];
    const other = { ...source, seed: 12345, tokens: FRESH_TOKENS };
    for await (const text of writeSamples(model, tokenizer, other, CONTEXT, () => {})) {
      fresh.push(...text);
    }
    const ids = Int32Array.from(fresh);
    const text = { length: ids.length, read: (at: number, n: number) => ids.subarray(at, at + n) };
    const student = loadCheckpoint(device, inspectCheckpoint(out));
    assert(student.spec.mixers.every(({ kind }) => kind === "radRwkv6"));
    const [theirs, ours] = [
      await evaluate(model, text, CONTEXT),
      await evaluate(student, text, CONTEXT),
    ];
    assertLess(ours.perplexity / theirs.perplexity, 1.1);
  } finally {
    await device.close();
    Deno.removeSync(`${out}/..`, { recursive: true });
  }
});
