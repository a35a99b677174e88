/** `deno task forward`: the logits of given ids, for comparison with other programs. */

import { AtomicFile } from "../formats/atomic_file.ts";
import { FormatError } from "../formats/error.ts";
import { openSafetensors } from "../formats/safetensors/store.ts";
import { DEFAULT_METADATA, formatHeader, sourceBytes } from "../formats/safetensors/write.ts";
import { forwardLogits } from "../infer/logits.ts";
import { inspectCheckpoint, loadCheckpoint } from "../infer/loading.ts";
import { inferenceBytes } from "../infer/memory_need.ts";
import { CHECKPOINT, checkpointFolder } from "./checkpoints.ts";
import { command, main } from "./command/command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { path, required } from "./command/flags.ts";
import { weightsFlag } from "./weights.ts";

/** The ids of a file, checked. */
interface Ids {
  readonly ids: Int32Array;
  readonly batch: number;
  readonly time: number;
}

/** Reads `ids` [batch, time] of any integer type. */
function readIds(file: string, vocabSize: number): Ids {
  using store = openSafetensors(file);
  const { shape, dtype } = store.info("ids");
  const wrong = (expected: string, found: string, advice: string) => {
    throw new FormatError({ file, at: 'tensor "ids"', expected, found, advice });
  };
  if (shape.length !== 2 || shape.includes(0)) {
    wrong("shape [batch, time]", `[${shape.join(", ")}]`, "give one row of ids a text");
  }
  if (/^(F|BF|BOOL)/.test(dtype)) {
    wrong("an integer type", dtype, "store the ids as I32 or I64");
  }
  const [batch, time] = shape;
  const ids = store.readI32("ids");
  const at = ids.findIndex((id) => id < 0 || id >= vocabSize);
  if (at >= 0) {
    const place = `${ids[at]} at [${Math.floor(at / time)}, ${at % time}]`;
    wrong(`ids 0 … ${vocabSize - 1}`, place, "use the tokenizer that belongs to this checkpoint");
  }
  return { ids, batch, time };
}

/** The command. */
export const forward = command({
  name: "forward",
  summary: "computes the logits of given ids, all tokens of a text at once as training does",
  arguments: { CHECKPOINT },
  flags: {
    ids: required(path("FILE", "safetensors with an integer tensor ids [batch, time]")),
    out: required(path("FILE", "safetensors to write, f32 logits [batch, time, vocabulary]")),
    weights: weightsFlag,
    ...deviceFlags,
  },
  run: async ({ arguments: { CHECKPOINT: named }, flags }, { print, say }) => {
    const folder = await checkpointFolder(named, say);
    const checkpoint = inspectCheckpoint(folder);
    const { vocabSize } = checkpoint.config;
    const { ids, batch, time } = readIds(flags.ids, vocabSize);
    const memory = inferenceBytes(checkpoint.spec);
    return await withDevice({ ...flags, memory }, say, async (device) => {
      const model = loadCheckpoint(device, checkpoint, flags.weights);
      const start = performance.now();
      const shape = [batch, time, vocabSize];
      const logits = { name: "logits", dtype: "F32", shape, data: () => [] } as const;
      using file = new AtomicFile(flags.out);
      file.write(formatHeader([logits], DEFAULT_METADATA));
      for await (const { buffer, byteOffset, byteLength } of forwardLogits(model, ids, time)) {
        file.write(new Uint8Array(buffer, byteOffset, byteLength));
      }
      file.commit();
      model.free();
      const seconds = (performance.now() - start) / 1000;
      print(`${flags.out}: logits [${shape.join(", ")}]\n`);
      return {
        report: {
          out: flags.out,
          shape,
          bytes: sourceBytes(logits),
          seconds,
          tokensPerSecond: ids.length / seconds,
          weights: flags.weights,
          device: device.description,
        },
      };
    });
  },
});

if (import.meta.main) await main(forward);
